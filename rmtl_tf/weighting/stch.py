"""Smooth Tchebycheff: a smooth maximum of the tasks' relative losses."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State, TaskLevel

_SMALLEST = 1e-8


@dataclass(frozen=True)
class STCH(TaskLevel):
    """omega_k = K softmax(f / mu)_k / L_k with f_k = log(L_k / scale_k).

    That is K times the gradient of mu log sum_k exp(f_k / mu), the paper's scalarization of the objectives f
    with equal preferences and ideal point 0; f and the factor K as in the authors' multi-task code. `scale`
    is the mean loss of the first `window` batches, in which sum_k log L_k is minimised, the limit of large
    mu. (That code: some epochs of sum_k log L_k, the last of which gives the scale.)

    Args:
        mu: smoothing; the smaller, the more only the worst task counts. Default 1.
        window: batches. Default 100.

    References:
        Lin, Zhang, Yang, Liu, Wang, Zhang, "Smooth Tchebycheff Scalarization for Multi-Objective
        Optimization", ICML 2024, arXiv 2402.19078. Equations read in the authors' code, github.com/Xi-L/STCH
        (STCH_MTL/LibMTL/weighting/STCH.py).
    """

    mu: float = 1.0
    window: int = 100

    def init(self, num_tasks: int) -> State:
        """Sum of the losses of the first batches, and their number."""
        return (tf.zeros(num_tasks), tf.zeros((), tf.int64))

    def task_weights(self, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        total, batches = state
        losses = tf.maximum(losses, _SMALLEST)
        scaled = tf.math.log(losses / tf.maximum(total / self.window, _SMALLEST))
        warm = batches >= self.window
        share = tf.nn.softmax(tf.where(warm, scaled, tf.zeros_like(scaled)) / self.mu)
        weights = tf.cast(tf.size(losses), losses.dtype) * share / losses
        return weights, (tf.where(warm, total, total + losses), tf.where(warm, batches, batches + 1))
