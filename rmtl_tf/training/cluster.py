"""Where a phase's batches are computed: in this process, on its devices, or by several processes.

A cluster makes variables in its scope, trains a model on a plan of batches, and lets processes agree. All
processes run the same program on their parts of the train split; the chief alone writes files. Keras 3's
`fit` is used for one process without a strategy only: with `MultiWorkerMirroredStrategy` it cannot reduce
scalar logs, and it has no support for `ParameterServerStrategy`. The loops here call the same `train_step`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.inputs import Batcher

Callbacks = Sequence[keras.callbacks.Callback]


class Cluster:
    """One process, one replica; the base of the others.

    Attributes:
        processes: that hold parts of the train split.
        process: number of this one; 0 is the chief's.
        replicas: of all processes.
    """

    processes: int = 1
    process: int = 0
    replicas: int = 1

    @property
    def is_chief(self) -> bool:
        return self.process == 0

    def own_parts(self, parts: int) -> range:
        """The parts of the train split that this process reads."""
        each = parts // self.processes
        return range(self.process * each, (self.process + 1) * each)

    def scope(self) -> AbstractContextManager:
        """Where the variables of networks and optimizers are made."""
        return contextlib.nullcontext()

    def fit(
        self, model: keras.Model, batcher: Batcher, plan: np.ndarray, epoch: int, callbacks: Callbacks
    ) -> None:
        """Trains on the batches of `plan` [batches, N]; `callbacks` get the logs of every batch."""
        model.fit(
            batcher.batches(plan),
            epochs=epoch + 1,
            initial_epoch=epoch,
            shuffle=False,
            verbose=0,
            callbacks=list(callbacks),
        )

    def spread(self, variables: Sequence[Any]) -> None:
        """Gives the replicas different dropout: equal states of seed generators become different ones."""

    def gather(self, array: np.ndarray) -> list[np.ndarray]:
        """What every process calls this with, in the order of the processes; shapes may differ."""
        return [array]

    def agree(self, values: dict[str, Any]) -> dict[str, Any]:
        """The chief's `values`: a decision taken from them is the same everywhere."""
        return values


class Mirrored(Cluster):
    """Replicas that hold the same variables and sum their gradients after every batch.

    Args:
        strategy: `MirroredStrategy` or `MultiWorkerMirroredStrategy`.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.strategy = strategy
        resolver = strategy.cluster_resolver
        spec = resolver.cluster_spec().as_dict() if resolver is not None else {}
        workers = [*spec.get("chief", []), *spec.get("worker", [])]
        self.processes = max(1, len(workers))
        if self.processes > 1 and resolver.task_type == "worker":
            self.process = resolver.task_id + len(spec.get("chief", []))
        self.replicas = strategy.num_replicas_in_sync

    def scope(self) -> AbstractContextManager:
        return self.strategy.scope()

    def fit(
        self, model: keras.Model, batcher: Batcher, plan: np.ndarray, epoch: int, callbacks: Callbacks
    ) -> None:
        step = _step_of(model, self._make_step)
        here = self.replicas // self.processes
        # One after another the elements go to the replicas of this process.
        pieces = batcher.batches(plan.reshape(len(plan) * here, -1))
        batches = iter(self.strategy.distribute_datasets_from_function(lambda context: pieces))
        with _following(model, callbacks) as follow:
            for number in range(len(plan)):
                logs = step(next(batches))
                follow(number, {key: value.numpy()[np.newaxis] for key, value in logs.items()})

    def _make_step(self, model: keras.Model) -> Any:
        @tf.function(reduce_retracing=True)
        def step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
            logs = self.strategy.run(model.train_step, args=(batch,))
            # They are those of the whole batch on every replica.
            return {key: self.strategy.experimental_local_results(value)[0] for key, value in logs.items()}

        return step

    def spread(self, variables: Sequence[Any]) -> None:
        @tf.function
        def shift() -> None:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            for variable in variables:
                variable.assign(variable.value + tf.cast(tf.stack([number, 0]), variable.dtype))

        if variables:
            self.strategy.run(shift)

    def gather(self, array: np.ndarray) -> list[np.ndarray]:
        if self.processes == 1:
            return [array]
        stream = BytesIO()
        np.save(stream, array, allow_pickle=False)
        size = len(stream.getvalue())
        sizes = self._gather(np.array([size], np.int64))
        text = np.zeros(-(-int(sizes.max()) // 4) * 4, np.uint8)
        text[:size] = np.frombuffer(stream.getvalue(), np.uint8)
        everyone = self._gather(text.view(np.int32))
        return [
            np.load(BytesIO(row.tobytes()[: int(length)]), allow_pickle=False)
            for row, length in zip(everyone, sizes[:, 0], strict=True)
        ]

    def _gather(self, row: np.ndarray) -> np.ndarray:
        """The rows [M] of all processes, [processes, M], in their order; of equal shape."""
        here = self.replicas // self.processes
        marked = np.concatenate([np.array([self.process], row.dtype), row])[np.newaxis]
        values = self.strategy.experimental_distribute_values_from_function(lambda _: tf.constant(marked))
        rows = self.strategy.gather(values, axis=0).numpy()
        rows = rows[np.argsort(rows[:, 0], kind="stable")][::here]
        return rows[:, 1:]

    def agree(self, values: dict[str, Any]) -> dict[str, Any]:
        text = np.frombuffer(json.dumps(values).encode(), np.uint8)
        return json.loads(self.gather(text)[0].tobytes())


class ParameterServers(Cluster):
    """This process sends batches to workers, which read and change variables that servers hold; no worker
    waits for another. With one worker the batches are trained one after another, as by one process.

    A worker that is lost is waited for while the others go on; the batch it had is trained again. A server
    that is lost takes its variables along: that is an error, from which the checkpoint helps.

    Args:
        strategy: made in the chief's process; workers and servers run `tf.distribute.Server`.
        workers: how many there are.
    """

    def __init__(self, strategy: tf.distribute.ParameterServerStrategy, workers: int) -> None:
        self.strategy = strategy
        self.coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self.workers = workers

    def scope(self) -> AbstractContextManager:
        return self.strategy.scope()

    def fit(
        self, model: keras.Model, batcher: Batcher, plan: np.ndarray, epoch: int, callbacks: Callbacks
    ) -> None:
        step = _step_of(model, self._make_step)
        batches = iter(batcher.batches(plan))
        with _following(model, callbacks) as follow:
            # Nobody is at work when the logs of these are told: a checkpoint then holds all of them alone.
            for start in range(0, len(plan), 2 * self.workers):
                count = min(2 * self.workers, len(plan) - start)
                sent = [self.coordinator.schedule(step, args=(next(batches),)) for _ in range(count)]
                self.coordinator.join()
                logs = [each.fetch() for each in sent]
                follow(start, {key: np.array([each[key] for each in logs]) for key in logs[0]})

    def _make_step(self, model: keras.Model) -> Any:
        @tf.function(reduce_retracing=True)
        def step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
            return self.strategy.run(model.train_step, args=(batch,))

        return step


def _step_of(model: keras.Model, make: Any) -> Any:
    """The model's step, traced once."""
    if not hasattr(model, "cluster_step"):
        model.cluster_step = make(model)
    return model.cluster_step


@contextlib.contextmanager
def _following(model: keras.Model, callbacks: Callbacks) -> Any:
    """Tells callbacks of a training as `fit` does; a function of a batch's number and logs."""
    every = keras.callbacks.CallbackList(list(callbacks), model=model)

    def follow(number: int, logs: Mapping[str, Any]) -> None:
        every.on_train_batch_end(number, dict(logs))

    every.on_train_begin()
    yield follow
    every.on_train_end()
