"""One phase of training: `fit` epoch by epoch, early stopping, checkpoints, exact resume."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from rmtl_tf.errors import UserError
from rmtl_tf.inputs import Batcher, RecordTable
from rmtl_tf.training.checkpoint import assign, copies, copy_into, load_checkpoint, save_checkpoint
from rmtl_tf.training.cluster import Cluster
from rmtl_tf.training.parts import Parts
from rmtl_tf.training.profiling import PhaseProfile
from rmtl_tf.training.tensorboard import PhaseLogger

log = logging.getLogger(__name__)

SEED_STATE = "seed_generator_state"


@dataclass
class Progress:
    """Where a phase is. `best` is the monitored value, higher is better; None before the first epoch.

    Attributes:
        epoch, step: the next batch to train on is batch `step` of epoch `epoch`.
        best_epoch: epoch of the best weights, counted from 1; 0 is the incumbent the phase started from.
        wait: epochs since then.
        sums, counts: of this epoch's logs: running sums, and in how many batches each was logged.
        history: one entry per finished epoch.
        records, seconds: records trained on and the time it took, without evaluation and tracing.
        start: metrics of the weights a warm start begins with.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    wait: int = 0
    finished: bool = False
    records: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    start: dict[str, float] | None = None


class Phase:
    """Trains `model` on a table until the monitored value has not risen for `patience` epochs.

    Args:
        name: for logs and messages, for example `finetune-paper`.
        model: compiled Keras model whose `train_step` takes the batches of `rmtl_tf.inputs`; where several
            take turns, an object whose `turns(plan)` says which model takes which batches of an epoch's plan.
        kept: variables whose best values are the result of the phase.
        state: all other variables that training changes (optimizer, targets, seeds, weighting).
        evaluate: metrics on validation data, called after every epoch.
        monitor: the metric that stops early, higher is better.
        incumbent: its value for the weights the phase starts from; None where they are new.
        shuffle_records: how many are shuffled with one another.
        checkpoint: file of this phase's checkpoint.
        checkpoint_steps: batches between checkpoints inside an epoch; one is written at the end of the
            execution that reaches them.
        steps_per_execution: batches the compiled function takes at a time; any number gives the same bits.
        logger: TensorBoard's, if any.
        cluster: where batches are computed; None: here.
        parts: of the table; None: it is one.
        profile: of some of its steps, if any.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        *,
        kept: Sequence[Any],
        state: Sequence[Any],
        table: RecordTable,
        extras: Mapping[str, np.ndarray] | None,
        batch_size: int,
        shuffle_records: int,
        seed: int,
        max_epochs: int,
        patience: int,
        evaluate: Callable[[], dict[str, float]],
        monitor: str,
        incumbent: float | None,
        checkpoint: Path,
        checkpoint_steps: int,
        steps_per_execution: int = 1,
        logger: PhaseLogger | None = None,
        cluster: Cluster | None = None,
        parts: Parts | None = None,
        profile: PhaseProfile | None = None,
    ) -> None:
        self.name, self.kept, self.state = name, list(kept), list(state)
        self.turns: Callable[[np.ndarray], list[tuple[keras.Model, np.ndarray]]]
        self.turns = getattr(model, "turns", lambda plan: [(model, plan)])
        self.cluster, self.parts = cluster or Cluster(), parts or Parts.whole(table)
        self.batcher = Batcher(table, extras, shuffle_records)
        self.batch_size, self.shuffle_records, self.seed = batch_size, shuffle_records, seed
        self.max_epochs, self.patience = max_epochs, patience
        self.evaluate, self.monitor = evaluate, monitor
        self.checkpoint, self.checkpoint_steps = checkpoint, checkpoint_steps
        self.steps_per_execution = steps_per_execution
        self.logger, self.profile = logger, profile
        self.traced: set[keras.Model] = set()  # the first execution of a model is not timed
        self.progress = Progress(best=incumbent)
        self.best = copies(self.kept)

    def run(self) -> Progress:
        """Trains, or goes on from the checkpoint; afterwards `kept` has its best values."""
        self._restore()
        bar = tqdm(
            total=self.max_epochs, initial=self.progress.epoch, desc=self.name, unit="epoch", disable=None
        )
        with bar:
            while not self.progress.finished:
                self._epoch()
                bar.update()
                bar.set_postfix({self.monitor: f"{self.progress.history[-1][self.monitor]:.4f}"})
        assign(self.kept, self.best)
        self.best = []
        return self.progress

    def _epoch(self) -> None:
        progress = self.progress
        plan, rows = self.parts.plan(self.batch_size, self.seed, progress.epoch, self.shuffle_records)
        turns = self.turns(plan)
        if len(turns) > 1:
            rows = np.concatenate([(part >= 0).sum(axis=1) for _, part in turns])
        follower = _Follower(self, rows)
        if self.logger is not None:
            self.logger.start_epoch(progress.epoch, progress.step, len(rows), self.batch_size)
        try:
            self._train(turns, follower)
        finally:
            if self.profile is not None:
                self.profile.stop()
        metrics = self.cluster.agree(self.evaluate())
        means = {key: total / progress.counts[key] for key, total in progress.sums.items()}
        progress.history.append({"epoch": progress.epoch + 1, **means, **metrics})
        progress.epoch, progress.step, progress.sums, progress.counts = progress.epoch + 1, 0, {}, {}
        self._stop_early(metrics[self.monitor])
        if self.logger is not None:
            self.logger.on_evaluation(progress.epoch, {**means, **metrics})
        self.save()

    def _train(self, turns: Sequence[tuple[keras.Model, np.ndarray]], follower: _Follower) -> None:
        """The batches of an epoch that are left."""
        progress = self.progress
        done = progress.step
        for model, part in turns:
            if done < len(part):
                model.steps_per_execution = self.steps_per_execution
                self.cluster.fit(model, self.batcher, part[done:], progress.epoch, [follower])
            done = max(done - len(part), 0)

    def _stop_early(self, value: float) -> None:
        progress = self.progress
        if progress.best is None or value > progress.best:
            progress.best, progress.best_epoch, progress.wait = value, progress.epoch, 0
            self._keep(self.kept)
        else:
            progress.wait += 1
        progress.finished = progress.wait >= self.patience or progress.epoch >= self.max_epochs

    def _keep(self, values: Sequence[Any]) -> None:
        """Makes these the best weights, in their place: two copies of them may not fit."""
        for best, value in zip(self.best, values, strict=True):
            copy_into(best, value)

    def save(self) -> None:
        if not self.cluster.is_chief:
            return
        # Nobody goes on from the state of a finished phase; beside large tables it is most of the file.
        groups: dict[str, Sequence[Any]] = {"best": self.best}
        if not self.progress.finished:
            groups |= {"kept": self.kept, "state": self.state}
        save_checkpoint(self.checkpoint, groups, asdict(self.progress))

    def _restore(self) -> None:
        stored = load_checkpoint(self.checkpoint)
        if stored is not None:
            self._assign(*stored)
        place = {"epoch": self.progress.epoch, "step": self.progress.step}
        if self.cluster.agree(place) != place:
            raise UserError(
                f"{self.name}: {self.checkpoint} is not what the chief sees. Expected one folder for all "
                "workers. Mount the run's root on every machine."
            )
        self.cluster.spread([v for v in self.state if v.name == SEED_STATE])

    def _assign(self, groups: Mapping[str, Sequence[np.ndarray]], meta: Mapping[str, Any]) -> None:
        self.progress = Progress(**meta)
        self._keep(groups["best"])
        if not self.progress.finished:
            assign(self.kept, groups["kept"])
            assign(self.state, groups.get("state", []))
        log.info("%s: resumed at epoch %d, batch %d", self.name, self.progress.epoch + 1, self.progress.step)


class _Follower(keras.callbacks.Callback):
    """Counts batches, stops at NaN or infinity, and writes checkpoints inside an epoch.

    Called once for the batches of one execution; what is counted and logged is the same however many these
    are.
    """

    def __init__(self, phase: Phase, rows: np.ndarray) -> None:
        super().__init__()
        self.phase, self.rows = phase, rows
        self.clock = time.perf_counter()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self.clock = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        progress, every = self.phase.progress, self.phase.checkpoint_steps
        columns = {key: np.asarray(value).tolist() for key, value in (logs or {}).items()}  # [n]
        batches = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        first, now = progress.step, time.perf_counter()
        seconds, self.clock = now - self.clock, now
        for values in batches:
            self._count(values, seconds / len(batches))
        if self.model in self.phase.traced:
            progress.records += int(self.rows[first : progress.step].sum())
            progress.seconds += seconds
        self.phase.traced.add(self.model)
        if self.phase.profile is not None:
            self.phase.profile.after(len(batches))
        if first // every < progress.step // every and progress.step < len(self.rows):
            self.phase.save()

    def _count(self, logs: Mapping[str, float], seconds: float) -> None:
        """One batch, which took so many seconds."""
        progress = self.phase.progress
        broken = [key for key, value in logs.items() if not math.isfinite(value)]
        if broken:
            raise UserError(
                f"{self.phase.name}: {', '.join(broken)} not finite at batch {progress.step} of epoch "
                f"{progress.epoch + 1}. Lower the learning rate, or look for extreme values of the numeric "
                "features in the data statistics."
            )
        progress.step += 1
        for key, value in logs.items():
            progress.sums[key] = progress.sums.get(key, 0.0) + value
            progress.counts[key] = progress.counts.get(key, 0) + 1
        if self.phase.logger is not None:
            self.phase.logger.on_batch(logs, seconds)
