"""GradNorm: weights that bring the tasks' gradients to norms that fit their rates of training."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State
from rmtl_tf.weighting.gradient_method import GradientMethod

_SMALLEST = 1e-8
_SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True)
class GradNorm(GradientMethod):
    """The step is the mean of v_k g_k; v is learned by gradient steps on sum_k |G_k - mean(G) r_k^alpha|.

    G_k = v_k |g_k|; r_k = L_k / L_k(0), divided by its mean over tasks, with L_k(0) the loss of the first
    batch; the target mean(G) r_k^alpha counts as a constant. After the step v is kept above 0.001 and scaled
    to sum K. v moves by plain gradient steps (the paper: Adam), and the norms are over all shared variables
    (the paper: one shared layer, usually the last). The paper sums v_k L_k, which is K times as much.

    Args:
        rate: step of v. Default 0.025, the paper's.
        alpha: 0 pulls all norms together, more lets tasks that train slowly have larger ones. Default 1.5,
            the paper's for NYUv2.

    References:
        Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing
        in Deep Multitask Networks", ICML 2018: equations 1 (target) and 2 (objective), algorithm 1.
    """

    rate: float = 0.025
    alpha: float = 1.5

    def init(self, num_tasks: int) -> State:
        """Weights v, losses of the first batch (-1 before it)."""
        return (tf.ones(num_tasks), -tf.ones(num_tasks))

    def combine(self, gram: tf.Tensor, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        weights, first = state
        first = tf.where(first < 0, losses, first)
        norms = tf.sqrt(tf.linalg.diag_part(gram))
        weighted = weights * norms
        ratio = losses / tf.maximum(first, _SMALLEST)
        relative = tf.math.divide_no_nan(ratio, tf.reduce_mean(ratio))
        target = tf.reduce_mean(weighted) * tf.pow(relative, self.alpha)
        moved = weights - self.rate * tf.sign(weighted - target) * norms
        moved = tf.maximum(moved, _SMALLEST_WEIGHT)
        count = gram.shape[0]
        return weights / count, (count * moved / tf.reduce_sum(moved), first)
