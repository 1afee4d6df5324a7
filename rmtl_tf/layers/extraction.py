"""One level of Progressive Layered Extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.layers.experts import Experts
from rmtl_tf.layers.gate import Gate, mix
from rmtl_tf.layers.seeds import derive_seed


@keras.saving.register_keras_serializable(package="rmtl_tf")
class Extraction(keras.layers.Layer):
    """Task experts and shared experts, mixed by a gate per task and a shared gate.

    Task k's experts and gate read task k's state of the level below, the shared experts and the
    shared gate the shared state. Task k's gate sees its own experts and the shared ones; the shared
    gate sees all experts. Each expert is computed once, whoever mixes it.

    Args:
        tasks: K, number of tasks.
        task_experts: experts of each task.
        shared_experts: experts all tasks share.
        widths: units of each layer of every expert.
        dropout: of the experts, in training. Default 0.
        shared_output: whether a shared gate makes a shared state; False on the last level.
        seed: of the initial weights and of dropout.

    References:
        Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
        Personalized Recommendations", RecSys 2020, equations 2 to 4 (g^k(x) = w^k(x) S^k(x), w^k a softmax of
        a linear map without bias) and 6 (the next level reads g^k; the shared gate sees all experts).
    """

    def __init__(
        self,
        tasks: int,
        task_experts: int,
        shared_experts: int,
        widths: Sequence[int],
        dropout: float = 0.0,
        shared_output: bool = True,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = tasks
        self.task_experts = task_experts
        self.shared_experts = shared_experts
        self.widths = tuple(widths)
        self.dropout = dropout
        self.shared_output = shared_output
        self.seed = seed
        groups = [*[(f"task_{k}", task_experts) for k in range(tasks)], ("shared", shared_experts)]
        self.experts = [
            Experts(
                count, widths, dropout, derive_seed(seed, "experts", name), dtype=self.dtype_policy, name=name
            )
            for name, count in groups
        ]
        seen = [task_experts + shared_experts] * tasks
        if shared_output:
            seen.append(tasks * task_experts + shared_experts)
        self.gates = [
            Gate(count, derive_seed(seed, "gate", name), dtype=self.dtype_policy, name=f"gate_{name}")
            for count, (name, _) in zip(seen, groups, strict=False)
        ]

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        for experts, shape in zip(self.experts, input_shape, strict=True):
            experts.build(shape)
        for gate, shape in zip(self.gates, input_shape, strict=False):
            gate.build(shape)

    def call(self, states: Sequence[Any], training: bool = False) -> list[Any]:
        """K task states and the shared one, each [N, I] -> K task states (and the shared one) [N, W]."""
        # (N, task_experts, W) for each task, then (N, shared_experts, W)
        outputs = [
            experts(state, training=training) for experts, state in zip(self.experts, states, strict=True)
        ]
        seen = [[outputs[k], outputs[-1]] for k in range(self.tasks)] + [outputs]
        return [
            _mix_groups(gate(state), groups)
            for gate, state, groups in zip(self.gates, states, seen, strict=False)
        ]

    def compute_output_shape(
        self, input_shape: Sequence[tuple[int | None, ...]]
    ) -> list[tuple[int | None, int]]:
        return [(input_shape[0][0], self.widths[-1])] * len(self.gates)

    def get_config(self) -> dict[str, Any]:
        own = {
            "tasks": self.tasks,
            "task_experts": self.task_experts,
            "shared_experts": self.shared_experts,
            "widths": self.widths,
            "dropout": self.dropout,
            "shared_output": self.shared_output,
            "seed": self.seed,
        }
        return {**super().get_config(), **own}


def _mix_groups(gates: Any, groups: Sequence[Any]) -> Any:
    """`mix` of groups of experts [N, E_i, W], one by one: concatenating them would copy them."""
    mixed, first = [], 0
    for experts in groups:
        last = first + experts.shape[1]
        mixed.append(mix(gates[:, first:last], experts))
        first = last
    return sum(mixed[1:], start=mixed[0])
