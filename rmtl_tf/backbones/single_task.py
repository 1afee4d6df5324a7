"""Single Task: a network of its own for every task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import FieldEmbedding
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class SingleTask(Backbone):
    """K networks that share nothing, embeddings included: z_k = h^k(f^k(e^k(x))).

    This is the baseline of the field: what K models trained alone would predict, held in one layer. A
    shared embedding would already let a task with many positives help one with few. No gradient of a
    task's loss reaches another task's weights; only early stopping, on the mean over tasks, and the
    ids that id dropout replaces are common.

    The K embedding tables stand side by side as one of width K * D, so that one gather still reads all
    fields of all tasks: the state is [N, F * K * D], and task k reads its D columns of every field. (Only
    the first weights of the map of numbers differ from K apart: their Glorot limit counts K * D outputs.)

    Args:
        spec, tasks: as in `Backbone`.
        embedding_dim: D, width of every field for each task. Default 128.
        bottom: units of the first layers of each task's network, `tower` of the last. Default (512, 256).
        **kwargs: as in `Backbone`.

    References:
        Liu et al., "Multi-Task Recommendations with Reinforcement Learning", WWW 2023 (its baseline
        "Single Task").
    """

    SETTINGS = (*Backbone.SETTINGS, "bottom")

    def __init__(
        self,
        spec: InputSpec,
        tasks: Sequence[Task],
        *,
        embedding_dim: int = 128,
        bottom: Sequence[int] = (512, 256),
        cross_layers: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, tasks, embedding_dim=embedding_dim * len(tasks), **kwargs)
        self.embedding_dim = embedding_dim
        # The state holds the tasks side by side: each has cross layers of its own, or they would mix.
        self.cross_layers = cross_layers
        self.crosses = [self.make_cross(f"cross_{k}") for k in range(len(tasks)) if cross_layers]
        self.bottom = tuple(bottom)
        self.bottoms = self.make_bottoms(bottom)
        self.towers = self.make_towers()

    def make_embedding(self, history_parts: int = 1) -> FieldEmbedding:
        """A history of its own for every task."""
        return super().make_embedding(len(self.tasks))

    def logits(self, state: Any, training: bool = False) -> Any:
        ops = keras.ops
        fields, count = self.embedding.fields, len(self.tasks)
        split = ops.reshape(state, (-1, fields, count, self.embedding_dim))  # (N, F, K, D)
        # Not K slices: the gradient of each would be as large as the state.
        parts = ops.unstack(split, count, axis=2)
        own = [ops.reshape(part, (-1, fields * self.embedding_dim)) for part in parts]
        if self.crosses:
            own = [cross(x) for cross, x in zip(self.crosses, own, strict=True)]
        hidden = [bottom(x, training=training) for bottom, x in zip(self.bottoms, own, strict=True)]
        return self.towers(hidden, training=training)
