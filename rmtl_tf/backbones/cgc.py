"""CGC: Customized Gate Control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.backbones.ple import PLE
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class CGC(PLE):
    """One level of task experts and shared experts, a gate and a tower per task: PLE of one level.

    Task k's gate mixes its own experts and the shared ones: z_k = h^k(w^k(x) S^k(x)). All experts and
    gates read the state.

    Args:
        spec, tasks, **kwargs: as in `PLE`, without `levels`.

    References:
        Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
        Personalized Recommendations", RecSys 2020, section 4.1: equations 2 to 5.
    """

    SETTINGS = tuple(name for name in PLE.SETTINGS if name != "levels")

    def __init__(self, spec: InputSpec, tasks: Sequence[Task], **kwargs: Any) -> None:
        super().__init__(spec, tasks, levels=1, **kwargs)

    def path_of(self, level: int) -> tuple[str | int, ...]:
        return ("extraction",)
