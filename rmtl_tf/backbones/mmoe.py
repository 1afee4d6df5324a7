"""MMoE: Multi-gate Mixture-of-Experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import Experts, Gate, mix
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class MMoE(Backbone):
    """Experts all tasks share, mixed by a gate per task: z_k = h^k(sum_i g^k(x)_i f_i(x)).

    Args:
        spec, tasks: as in `Backbone`.
        bottom: units of the layers of every expert. Default (512, 256).
        experts: number of experts. Default 8.
        **kwargs: as in `Backbone`.

    References:
        Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018, section 4.2: equations 6 to 8.
    """

    SETTINGS = (*Backbone.SETTINGS, "bottom", "experts")

    def __init__(
        self,
        spec: InputSpec,
        tasks: Sequence[Task],
        *,
        bottom: Sequence[int] = (512, 256),
        experts: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, tasks, **kwargs)
        self.bottom = tuple(bottom)
        self.experts = experts
        self.mixture = Experts(
            experts, bottom, self.dropout, self.part_seed("experts"), dtype=self.dtype_policy, name="experts"
        )
        self.gates = self.make_gates()
        self.towers = self.make_towers()

    def make_gates(self) -> list[Gate]:
        """A gate for each task."""
        return [
            Gate(self.experts, self.part_seed("gate", k), dtype=self.dtype_policy, name=f"gate_{k}")
            for k in range(len(self.tasks))
        ]

    def logits(self, state: Any, training: bool = False) -> Any:
        return self.towers(self.mixed(state, training), training=training)

    def mixed(self, state: Any, training: bool) -> list[Any]:
        """The experts' outputs as each gate mixes them, [N, W] a gate."""
        outputs = self.mixture(state, training=training)  # (N, experts, W)
        return [mix(gate(state), outputs) for gate in self.gates]
