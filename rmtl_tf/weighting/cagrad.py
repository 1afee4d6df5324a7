"""CAGrad: near the mean gradient, the direction that helps the worst-off task most."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State
from rmtl_tf.weighting.gradient_method import GradientMethod, scaled_gram
from rmtl_tf.weighting.simplex import minimise_on_simplex

# Below this share of the largest square norm, a square norm in float32 is rounding.
_ROUNDING = 1e-7


@dataclass(frozen=True)
class CAGrad(GradientMethod):
    """d = g_0 + radius |g_0| g_w / |g_w|, the d within radius |g_0| of the mean gradient g_0 whose smallest
    inner product with a task's gradient is largest.

    g_w = sum_k w_k g_k, w = argmin g_w . g_0 + radius |g_0| |g_w| over w >= 0, sum w = 1. Where g_w = 0,
    d = g_0. The authors' code divides d by 1 + radius^2, which Adam does not notice; here d is the paper's.

    Args:
        radius: c in [0, 1). Default 0.5.

    References:
        Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021:
        equation 3 (the problem) and algorithm 1 (its dual).
    """

    radius: float = 0.5

    def combine(self, gram: tf.Tensor, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        gram = scaled_gram(gram)
        linear = tf.reduce_mean(gram, axis=1)  # g_k . g_0
        reach = self.radius * tf.sqrt(tf.maximum(tf.reduce_mean(linear), 0.0))
        weights = minimise_on_simplex(gram, linear, reach)
        square = tf.tensordot(weights, tf.linalg.matvec(gram, weights), 1)
        share = tf.where(square > _ROUNDING, reach * tf.math.rsqrt(tf.maximum(square, _ROUNDING)), 0.0)
        return tf.cast(1.0 / gram.shape[0] + share * weights, tf.float32), state
