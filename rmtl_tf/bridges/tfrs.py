"""TFRS models with session-wise weights: the model stays as it is, its tasks get a `sample_weight`.

    from rmtl_tf.bridges.tfrs import learn_weights
    model.session_weights = learn_weights(model, train, validation, schema)     # before fine-tuning
    ... task(labels, predictions, sample_weight=self.session_weights(inputs)[name])     # in compute_loss

TFRS needs Keras 2 and this package Keras 3. With `TF_USE_LEGACY_KERAS=1` both live in one process: `tf.keras`
is Keras 2, `import keras` stays Keras 3, and what they exchange are plain tensors.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.bridges.sessions import Columns, fit_graph, session_table
from rmtl_tf.config import ArmConfig, ModelConfig, TrainingConfig, TransformConfig
from rmtl_tf.errors import UserError, nearest
from rmtl_tf.features.encoder import RawEncoder
from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.features.history_encoder import DTYPES
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.mdp import cross_entropy
from rmtl_tf.schema import DataSchema
from rmtl_tf.training.phases import Trainer
from rmtl_tf.training.problem import Frozen, Problem
from rmtl_tf.weighting import GRADIENT_METHODS, build_weighting

try:
    import tensorflow_recommenders as tfrs
except ImportError as error:
    raise UserError(
        "rmtl_tf.bridges.tfrs: TFRS models are of Keras 2: install tensorflow-recommenders and tf-keras, and "
        f"set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported ({error})."
    ) from None

_BATCH = 4096
_SMALLEST = 1e-7
_GIVEN = "#logits"
_KNOWN = frozenset({"q", "value", "labels", "mask"})


class SessionWeights:
    """omega for every record and task, as `sample_weight`s; made by `learn_weights`.

    A plain object: a TFRS model that has it as an attribute neither trains nor saves it.

    Attributes:
        omega: {task: [R] float32} of the train records, in their order, under the actor as it was read.
        report: what the critic reached on validation sessions (`CriticReport`): `correlation/<task>` with
            the Monte-Carlo return, `bias/<task>`, ...; empty where the weighting reads no critic.
    """

    def __init__(self, actor: _Actor, agent: Agent, encoder: RawEncoder, report: Mapping[str, float]) -> None:
        self._actor, self._agent, self._encoder = actor, agent, encoder
        self.report = dict(report)
        self.omega: dict[str, np.ndarray] = {}

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The weights {task: [N] float32} of a batch, under the actor as it is now, without dropout.

        Args:
            inputs: what the model's `compute_loss` gets: what it reads, and the schema's inputs and labels
                (its timestamp where parts of the time are inputs), {column: [N] or [N, 1]}.
        """
        graph = self._encoder.graph
        raw = {name: _cast(inputs[name], DTYPES[kind]) for name, kind in graph.raw.items()}
        logits = self._actor(inputs)
        labels = tf.stack([_cast(inputs[name], tf.float32) for name in graph.labels], axis=1)
        batch = {
            "features": {**self._encoder(raw), _GIVEN: logits},
            "labels": labels,
            "mask": tf.ones_like(labels[:, 0]),
            "session_length": None,
        }
        omega = self._agent.omega(batch, cross_entropy(labels, logits))
        return {task.name: omega[:, k] for k, task in enumerate(graph.tasks)}

    def measure(self, columns: Columns) -> dict[str, np.ndarray]:
        """The weights {task: [R]} of records {column: [R]}, in their order."""
        parts = [
            {task: values.numpy() for task, values in self(batch).items()} for batch in _batches(columns)
        ]
        return {task: np.concatenate([part[task] for part in parts]) for task in parts[0]}


def learn_weights(
    model: Any,
    train: Columns,
    validation: Columns,
    schema: DataSchema,
    *,
    arm: str = "paper",
    training: TrainingConfig | None = None,
    embedding_dim: int = 32,
    probabilities: bool = False,
    transform: TransformConfig | None = None,
    seed: int = 0,
) -> SessionWeights:
    """Reads a trained TFRS model as the frozen actor and learns a critic of it (phase B): weights of both.

    Args:
        model: `call({column: [N]})` -> logits, as {task: [N] or [N, 1]} or as [N, K] in the schema's order.
        train, validation: records in any order, {column: [R]}: what the model reads, and the schema's inputs,
            session, timestamp (seconds) and labels.
        schema: which columns these are (`rmtl_tf.schema.read_schema`).
        arm: of `training.arms`: its weighting and critic.
        training: default: the presets `paper` and `recommended`.
        embedding_dim: D, width of the critic's embeddings, which start anew.
        probabilities: `call` answers probabilities, as tasks with the default loss of TFRS expect them.
        transform: how the critic's inputs are encoded.
        seed: of the critic.

    Raises:
        UserError: the model is none of TFRS, answers otherwise, the columns are not those of the schema,
            there is no such arm, or its weighting needs more than a record tells.
    """
    if not isinstance(model, tfrs.models.Model):
        raise UserError(f"model: expected a tfrs.models.Model, received {type(model).__name__}.")
    training = training or TrainingConfig()
    chosen = _arm(training, arm)
    graph = fit_graph(train, schema, transform or TransformConfig())
    actor = _Actor(model, graph, probabilities)
    tables, logits = [], []
    for columns in (train, validation):
        table, order = session_table(columns, schema, graph)
        tables.append(table)
        logits.append(np.concatenate([actor(batch).numpy() for batch in _batches(columns)])[order])
    problem = Problem(graph.input_spec(), graph.tasks, tables[0], tables[1])
    longest = max(int(np.diff(table.windows).max()) for table in tables)
    training = training.model_copy(update={"batch_size": max(training.batch_size, longest)})
    weighting = build_weighting(chosen.weighting, problem.names)
    critic, report = None, {}
    with tempfile.TemporaryDirectory(prefix="rmtl-tfrs-") as folder:
        if {"q", "value"} & weighting.NEEDS:
            learner = _CriticTrainer(
                problem, ModelConfig(embedding_dim=embedding_dim), training, seed, Path(folder)
            )
            critic, progress = learner.critic(Frozen([], *logits), training.critic_of(chosen), [arm])
            report = progress.history[progress.best_epoch - 1]
        graph.save(Path(folder) / "graph")
        encoder = RawEncoder(graph, Path(folder) / "graph")
    agent = Agent(_Given(name="given"), weighting, problem.names, critic)
    weights = SessionWeights(actor, agent, encoder, report)
    weights.omega = weights.measure(train)
    return weights


def _arm(training: TrainingConfig, name: str) -> ArmConfig:
    arms = {arm.name: arm for arm in training.arms}
    if name not in arms:
        raise UserError(f'arm: no "{name}"; {nearest(name, list(arms))}')
    arm = arms[name]
    if arm.weighting.name in GRADIENT_METHODS or arm.agent.name != "rmtl":
        raise UserError(
            f"arm {name}: expected a weighting of records with the agent rmtl, received {arm.weighting.name} "
            f"with {arm.agent.name}: a sample_weight can express no other."
        )
    if lacking := build_weighting(arm.weighting, [name]).NEEDS - _KNOWN:
        raise UserError(
            f"arm {name}: expected a weighting that reads {sorted(_KNOWN)} of a record, received "
            f"{arm.weighting.name}, which reads {sorted(lacking)} too. Choose another, such as rmtl."
        )
    return arm


class _Actor:
    """The logits [N, K] of a TFRS model, without dropout."""

    def __init__(self, model: Any, graph: TransformGraph, probabilities: bool) -> None:
        accepts = inspect.signature(model.call).parameters
        self._model, self._options = model, {"training": False} if "training" in accepts else {}
        self._names, self._probabilities = [task.name for task in graph.tasks], probabilities

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        answer = self._model(inputs, **self._options)
        if isinstance(answer, Mapping) and set(self._names) <= set(answer):
            answer = tf.stack([_cast(answer[name], tf.float32) for name in self._names], axis=1)
        if not tf.is_tensor(answer) or answer.shape.rank != 2 or answer.shape[1] != len(self._names):
            found = sorted(answer) if isinstance(answer, Mapping) else getattr(answer, "shape", type(answer))
            raise UserError(
                f"model: expected `call` to answer one value a record for each of the tasks {self._names}, "
                f"as a dict or as [N, {len(self._names)}]; received {found}."
            )
        answer = tf.cast(answer, tf.float32)
        if not self._probabilities:
            return answer
        answer = tf.clip_by_value(answer, _SMALLEST, 1.0 - _SMALLEST)
        return tf.math.log(answer) - tf.math.log1p(-answer)


class _Given(keras.layers.Layer):
    """Stands where an agent has its backbone: its logits [N, K] come with the features."""

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return inputs[_GIVEN]


class _CriticTrainer(Trainer):
    """Phase B for an actor of which the logits are all that is known."""

    def __init__(
        self, problem: Problem, model: ModelConfig, training: TrainingConfig, seed: int, folder: Path
    ) -> None:
        super().__init__(problem, model, training, seed, folder / "checkpoints", folder / "logs")

    def backbone(self, phase: str) -> keras.layers.Layer:
        return _Given(name="given")


def _cast(values: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """[N] or [N, 1] -> [N] of `dtype`; whole numbers become text as in the offline encoding."""
    values = tf.reshape(values, [-1])
    if dtype == tf.string and values.dtype != tf.string:
        return tf.strings.as_string(values)
    return tf.cast(values, dtype) if dtype != tf.string else values


def _batches(columns: Columns) -> Any:
    rows = len(next(iter(columns.values())))
    for begin in range(0, rows, _BATCH):
        yield {name: _tensor(values[begin : begin + _BATCH]) for name, values in columns.items()}


def _tensor(values: Any) -> tf.Tensor:
    values = np.asarray(values)
    if values.dtype == object:  # text, None where it is missing
        values = np.array(["" if value is None else value for value in values.tolist()], object)
    return tf.constant(values)
