"""Kendall's weighting: one learned log-variance a task."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State, TaskLevel

_LARGEST = 10.0


@dataclass(frozen=True)
class Uncertainty(TaskLevel):
    """omega_k = exp(-s_k), with s = log variance learned beside the model.

    Both minimise sum_k exp(-s_k) L_k + s_k: the model through the weights, s by a gradient step of its
    own, s_k <- s_k - rate * (1 - exp(-s_k) L_k), from the batch's mean losses. So exp(s_k) follows L_k. It
    is twice the paper's objective for a Gaussian task (L / 2 sigma^2 + log sigma); its form for a classifier
    (L / sigma^2 + log sigma) has the same weights up to a factor all tasks share. s starts at 0 and stays
    within 10.

    Args:
        rate: step of s. Default 0.025.

    References:
        Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry
        and Semantics", CVPR 2018, section 3.2 (its last equation: a regression and a classification; s as
        what is learned).
    """

    rate: float = 0.025

    def init(self, num_tasks: int) -> State:
        return (tf.zeros(num_tasks),)

    def task_weights(self, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        (log_variance,) = state
        weights = tf.exp(-log_variance)
        moved = log_variance - self.rate * (1.0 - weights * losses)
        return weights, (tf.clip_by_value(moved, -_LARGEST, _LARGEST),)
