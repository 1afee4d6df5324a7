"""RMTL: weights from the critics' values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from rmtl_tf.weighting.base import Context, Memoryless, power_law


@dataclass(frozen=True)
class RMTL(Memoryless):
    """omega = (1 - lambda Q)^power, with Q = Q(s_t, a_kt; phi_k) <= 0.

    Power 1 is the paper's weight: at least 1, and larger the worse the critic expects the rest of the
    session to be predicted. Power -1 is its inverse, in (0, 1].

    Args:
        lam: lambda. Default 0.7, the paper's.
        power: default 1, the paper's; or K powers, one for each task.

    References:
        Liu et al., "Multi-Task Recommendations with Reinforcement Learning", WWW 2023.
    """

    lam: float = 0.7
    power: float | tuple[float, ...] = 1.0
    NEEDS: ClassVar[frozenset[str]] = frozenset({"q"})

    def omega(self, losses: tf.Tensor, context: Context) -> tf.Tensor:
        return power_law(context.q, self.lam, self.power)
