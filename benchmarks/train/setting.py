"""What is trained in a comparison: one description that every worker understands, whatever its framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

LEARNING_RATE = 1e-3  # of Adam, in every framework


@dataclass(frozen=True)
class Setting:
    """One model at one size, and the records it trains on; the defaults are the paper's sizes.

    Plain numbers, so that it goes to other processes as JSON; needs numpy alone, so that a process without
    TensorFlow reads it.

    Attributes:
        backbone: a name in `rmtl_tf.backbones`.
        rows: ids of each field.
        fields: F, all categorical; the first two are ids.
        width: D of every field.
        batch: N records a step.
        batches: different batches, taken in turn; ids are uniform, the hardest case for sparse updates.
        parents: of every task the number of its parent, -1 for none; K = len(parents).
        weighting: of `rmtl_tf.weighting`; the peers know `constant` alone.
        dtype: Keras' policy, `float32` or `mixed_bfloat16`; the peers know the first alone.
        loop: of ours, `step` (the compiled step on batches that are there) or `fit` (with its input).
    """

    backbone: str
    rows: int = 1000
    fields: int = 7
    width: int = 128
    bottom: tuple[int, ...] = (512, 256)
    tower: tuple[int, ...] = (128, 64)
    experts: int = 8
    shared_experts: int = 4
    task_experts: int = 4
    levels: int = 2
    relation: tuple[int, ...] = (64,)
    critic_heads: int = 5
    counterfactual_weight: float = 0.01
    calibrator_weight: float = 0.6
    dropout: float = 0.2
    batch: int = 2048
    batches: int = 32
    parents: tuple[int, ...] = (-1, 0)
    weighting: str = "constant"
    dtype: str = "float32"
    loop: str = "step"
    seed: int = 0

    @property
    def tasks(self) -> int:
        """K."""
        return len(self.parents)

    @property
    def state(self) -> int:
        """F * D."""
        return self.fields * self.width

    def records(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids [batches, N, F] int64 and labels [batches, N, K] float32, the same in every process."""
        random = np.random.default_rng(self.seed)
        ids = random.integers(0, self.rows, (self.batches, self.batch, self.fields))
        labels = random.random((self.batches, self.batch, self.tasks)) < 0.1
        return ids, labels.astype(np.float32)

    def having(self, **changes: Any) -> Setting:
        """This setting with some fields changed."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Setting:
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
