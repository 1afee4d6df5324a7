"""MGDA: the shortest gradient between the tasks' gradients."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State
from rmtl_tf.weighting.gradient_method import GradientMethod, scaled_gram
from rmtl_tf.weighting.simplex import minimise_on_simplex


@dataclass(frozen=True)
class MGDA(GradientMethod):
    """w = argmin |sum_k w_k g_k| over w >= 0, sum w = 1: the step lowers every task's loss, and is 0 where
    none does (a Pareto-stationary point).

    By Frank-Wolfe, exact for two tasks. The gradients are those of the shared variables (the paper's
    MGDA; its upper bound MGDA-UB on the shared representation is not built), not normalised.

    References:
        Sener, Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018: equation 3,
        algorithm 2 (equation 4 for two tasks).
        Desideri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", 2012.
    """

    def combine(self, gram: tf.Tensor, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        gram = scaled_gram(gram)
        linear = tf.zeros_like(gram[0])
        weights = minimise_on_simplex(gram, linear, tf.ones((), tf.float64))
        return tf.cast(weights, tf.float32), state
