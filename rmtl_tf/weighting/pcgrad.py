"""PCGrad: conflicting parts of the gradients are projected away."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State
from rmtl_tf.weighting.gradient_method import GradientMethod


@dataclass(frozen=True)
class PCGrad(GradientMethod):
    """Each task's gradient loses its part against every other task's (in random order) it conflicts with:
    g_i <- g_i - (g_i . g_j / |g_j|^2) g_j where g_i . g_j < 0; the step is the mean of what is left.

    The orders depend on the seed and the number of the batch alone, so training resumes exactly. The paper
    sums over tasks.

    Args:
        seed: of the orders.

    References:
        Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020:
        algorithm 1.
    """

    seed: int = 0

    def init(self, num_tasks: int) -> State:
        return (tf.zeros((), tf.int64),)

    def combine(self, gram: tf.Tensor, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        (batches,) = state
        orders = self.orders(gram.shape[0], batches)
        return project(tf.cast(gram, tf.float64), orders), (batches + 1,)

    def orders(self, num_tasks: int, batch: tf.Tensor) -> tf.Tensor:
        """For every task the order [K, K] in which it meets the others (and itself: no conflict)."""
        seed = tf.stack([tf.constant(self.seed, tf.int64), batch])
        return tf.argsort(tf.random.stateless_uniform((num_tasks, num_tasks), seed), axis=1, stable=True)


def project(gram: tf.Tensor, orders: tf.Tensor) -> tf.Tensor:
    """Weights [K] float32 of the mean of the projected gradients, from inner products [K, K] and orders."""
    count = gram.shape[0]
    squares = tf.linalg.diag_part(gram)
    rows = tf.eye(count, dtype=gram.dtype)  # row i: the projected gradient of task i in terms of all
    for place in range(count):
        other = orders[:, place]  # [K]
        dot = tf.reduce_sum(rows * tf.gather(gram, other), axis=1)
        conflict = (dot < 0) & (other != tf.range(count))
        share = tf.where(conflict, tf.math.divide_no_nan(dot, tf.gather(squares, other)), 0.0)
        rows -= share[:, tf.newaxis] * tf.one_hot(other, count, dtype=gram.dtype)
    return tf.cast(tf.reduce_mean(rows, axis=0), tf.float32)
