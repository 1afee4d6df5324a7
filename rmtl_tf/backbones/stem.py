"""STEM-Net: Shared and Task-specific EMbeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import Experts, FieldEmbedding, Gate, mix
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class STEM(Backbone):
    """A whole embedding for every task beside the shared one; every tower sees all, teaches its own.

    With K tasks there are K + 1 embeddings of all fields. Task j's experts read task j's embedding, the
    shared experts the shared one. Task k's gate reads the sum of its own and the shared state and mixes
    the experts of every task and the shared ones ("all forward"), but through another task's experts
    no gradient flows ("task-specific backward"): task k's embedding and experts learn from task k's
    loss alone, the shared ones from all.

    One level, as the authors' code has by default, so that no gate of the shared state is needed. The gate is
    one linear map without bias, as MMoE's and PLE's; that code puts hidden layers (128, 64) before it, and
    before those of its MMoE and PLE too. A dropped id is dropped in all embeddings. With `cross_layers` every
    embedding has cross layers of its own.

    Args:
        spec, tasks: as in `Backbone`.
        bottom: units of the layers of every expert. Default (512, 256).
        shared_experts: shared experts. Default 4.
        task_experts: experts of each task. Default 4.
        **kwargs: as in `Backbone`.

    References:
        Su et al., "STEM: Unleashing the Power of Embeddings for Multi-task Recommendation", AAAI 2024,
        arXiv 2308.13537. What the gates read and where gradients stop: the authors' code,
        github.com/LiangcaiSu/STEM (models/STEM.py).
    """

    SETTINGS = (*Backbone.SETTINGS, "bottom", "shared_experts", "task_experts")

    def __init__(
        self,
        spec: InputSpec,
        tasks: Sequence[Task],
        *,
        bottom: Sequence[int] = (512, 256),
        shared_experts: int = 4,
        task_experts: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, tasks, **kwargs)
        self.bottom = tuple(bottom)
        self.shared_experts = shared_experts
        self.task_experts = task_experts
        numbers = range(len(tasks))
        self.task_embeddings = [
            FieldEmbedding(
                spec,
                self.embedding_dim,
                seed=self.part_seed("embedding", k),
                dtype=self.dtype_policy,
                name=f"embedding_{k}",
            )
            for k in numbers
        ]
        self.task_crosses = [self.make_cross(f"cross_{k}") for k in numbers if self.cross_layers]
        self._sizes = [*[task_experts] * len(tasks), shared_experts]
        self.experts = [
            Experts(
                count,
                bottom,
                self.dropout,
                self.part_seed("experts", i),
                dtype=self.dtype_policy,
                name="experts_shared" if i == len(tasks) else f"experts_{i}",
            )
            for i, count in enumerate(self._sizes)
        ]
        self.gates = [
            Gate(sum(self._sizes), self.part_seed("gate", k), dtype=self.dtype_policy, name=f"gate_{k}")
            for k in numbers
        ]
        self.towers = self.make_towers()

    @property
    def state_width(self) -> int:
        return (len(self.tasks) + 1) * self.embedding.state_width

    def build(self, input_shape: Any = None) -> None:
        for embedding in self.task_embeddings:
            if not embedding.built:
                embedding.build()
        for cross in self.task_crosses:
            if not cross.built:
                cross.build((None, self.embedding.state_width))
        super().build(input_shape)

    def state(self, inputs: Mapping[str, Any], training: bool = False) -> Any:
        """Inputs {name: [N]} -> state [N, (K + 1) * F * D]: the states of the tasks, then the shared."""
        inputs = self.embedding.drop_ids(inputs, training)
        states = [embedding(inputs) for embedding in (*self.task_embeddings, self.embedding)]
        if self.cross is not None:
            crosses = [*self.task_crosses, self.cross]
            states = [cross(state) for cross, state in zip(crosses, states, strict=True)]
        return keras.ops.concatenate(states, axis=1)

    def logits(self, state: Any, training: bool = False) -> Any:
        """State [N, (K + 1) * F * D] -> logits [N, K]."""
        tasks = len(self.tasks)
        states = tf.split(state, tasks + 1, axis=1)
        outputs = [
            experts(own, training=training) for experts, own in zip(self.experts, states, strict=True)
        ]  # (N, experts of the group, W) each
        mixed = []
        for k, gate in enumerate(self.gates):
            weights = tf.split(gate(states[k] + states[-1]), self._sizes, axis=1)
            seen = [out if j in (k, tasks) else tf.stop_gradient(out) for j, out in enumerate(outputs)]
            groups = [mix(weight, out) for weight, out in zip(weights, seen, strict=True)]
            mixed.append(sum(groups[1:], start=groups[0]))
        return self.towers(mixed, training=training)
