"""RMTL's weight from the exact return: no critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from rmtl_tf.weighting.base import Context, Memoryless, power_law


@dataclass(frozen=True)
class MonteCarlo(Memoryless):
    """omega = (1 - lambda G)^power, G the discounted return of the frozen actor from the record on.

    G is what the critic of `RMTL` estimates. It holds the record's own label, which the critic's value
    does not.

    Args:
        lam: lambda. Default 0.7.
        power: default 1; or K powers, one for each task.
    """

    lam: float = 0.7
    power: float | tuple[float, ...] = 1.0
    NEEDS: ClassVar[frozenset[str]] = frozenset({"returns"})

    def omega(self, losses: tf.Tensor, context: Context) -> tf.Tensor:
        return power_law(context.returns, self.lam, self.power)
