"""Random loss weighting, the baseline every balancing method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from rmtl_tf.weighting.base import State, TaskLevel


@dataclass(frozen=True)
class RLW(TaskLevel):
    """omega = K softmax(x), x ~ N(0, 1)^K drawn anew for every batch.

    The draw depends on the seed and the number of the batch alone, so training resumes exactly.

    Args:
        seed: of the draws.

    References:
        Lin, Ye, Zhang, Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
        Learning", TMLR 2022 (normal distribution). The paper sums softmax(x)_k L_k, as LibMTL does.
    """

    seed: int = 0
    NEEDS: ClassVar[frozenset[str]] = frozenset()

    def init(self, num_tasks: int) -> State:
        return (tf.zeros((), tf.int64),)

    def task_weights(self, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        (batches,) = state
        seed = tf.stack([tf.constant(self.seed, tf.int64), batches])
        draw = tf.random.stateless_normal(tf.shape(losses), seed, dtype=losses.dtype)
        return tf.cast(tf.size(losses), losses.dtype) * tf.nn.softmax(draw), (batches + 1,)
