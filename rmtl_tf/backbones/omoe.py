"""OMoE: One-gate Mixture-of-Experts."""

from __future__ import annotations

from typing import Any

import keras

from rmtl_tf.backbones.mmoe import MMoE
from rmtl_tf.layers import Gate


@keras.saving.register_keras_serializable(package="rmtl_tf")
class OMoE(MMoE):
    """A shared bottom made of experts, mixed by one gate all tasks share: z_k = h^k(sum_i g(x)_i f_i(x)).

    What MMoE is compared with to show what a gate per task adds. With one task both are the same.

    Args:
        spec, tasks, **kwargs: as in `MMoE`.

    References:
        Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018, end of section 4.2 (its baseline OMoE).
    """

    def make_gates(self) -> list[Gate]:
        """One gate."""
        return [Gate(self.experts, self.part_seed("gate"), dtype=self.dtype_policy, name="gate")]

    def logits(self, state: Any, training: bool = False) -> Any:
        return self.towers(self.mixed(state, training) * len(self.tasks), training=training)
