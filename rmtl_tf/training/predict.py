"""What a layer answers for every record of a table: predictions, values, weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.inputs import Batcher, RecordTable, epoch_plan
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.mdp import cross_entropy
from rmtl_tf.training.networks import full_precision

_BATCH = 4096
_HELD = 1 << 16  # records of spilled features that are held: they are read in order


class _TablePredictor:
    """Applies `function(batch) -> [N, K]` to a table in order, traced once."""

    def __init__(
        self, function: Callable[[dict], Any], table: RecordTable, extras: Mapping[str, np.ndarray] | None
    ) -> None:
        longest = int(np.diff(table.windows).max())
        self.table = table
        self.plan = epoch_plan(table, max(_BATCH, longest), seed=None)
        self.batcher = Batcher(table, extras, _HELD)
        self.function = tf.function(function)

    def answers(self, batches: int | None = None) -> np.ndarray:
        """[rows, K] float32 of the first batches, or of all; look-ahead rows included."""
        plan = self.plan[:batches]
        parts = [
            self.function(batch).numpy()[rows >= 0]
            for rows, batch in zip(plan, self.batcher.batches(plan), strict=True)
        ]
        return np.concatenate(parts)


class Predictor(_TablePredictor):
    """A backbone's logits, or a critic's values of given actions, without dropout.

    Args:
        layer: `call(features {name: [N]}, training)` -> [N, K]; with the extra column `actions` [R, K],
            `call(features, actions, training)`.
        table: the records.
        extras: columns beside the features.
    """

    def __init__(
        self, layer: keras.layers.Layer, table: RecordTable, extras: Mapping[str, np.ndarray] | None = None
    ) -> None:
        def apply(batch: dict) -> tf.Tensor:
            more = (batch["actions"],) if "actions" in batch else ()
            with full_precision(layer):
                return layer(batch["features"], *more, training=False)

        super().__init__(apply, table, extras)

    def __call__(self) -> np.ndarray:
        """[R, K] float32."""
        return self.answers()


class ValuePredictor(_TablePredictor):
    """An actor's logits, and a critic's values of the actor's actions, as both are now; without dropout."""

    def __init__(self, actor: keras.layers.Layer, critic: keras.layers.Layer, table: RecordTable) -> None:
        def apply(batch: dict) -> tf.Tensor:
            logits = actor(batch["features"], training=False)
            values = critic(batch["features"], tf.sigmoid(logits), training=False)
            return tf.concat([logits, values], axis=1)

        super().__init__(apply, table, None)

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        """Logits and Q, both [R, K] float32."""
        logits, values = np.split(self.answers(), 2, axis=1)
        return logits, values


class OmegaPredictor(_TablePredictor):
    """The weights an agent gives to the records of a table now; the weighting's state stays as it is."""

    def __init__(
        self, agent: Agent, table: RecordTable, extras: Mapping[str, np.ndarray] | None = None
    ) -> None:
        def apply(batch: dict) -> tf.Tensor:
            with full_precision(agent.backbone):
                losses = cross_entropy(batch["labels"], agent(batch["features"], training=False))
                return agent.omega(batch, losses, remember=False)

        super().__init__(apply, table, extras)

    def __call__(self, sample: int | None = None) -> np.ndarray:
        """[n, K] of the real records; of about the first `sample` of them, or of all."""
        batches = None if sample is None else max(1, sample // self.plan.shape[1])
        omega = self.answers(batches)
        return omega[~self.table.lookahead[: len(omega)]]
