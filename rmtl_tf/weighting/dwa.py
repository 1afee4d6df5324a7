"""Dynamic weight average: tasks whose loss falls slowly count more."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State, TaskLevel

_LARGEST_RATIO = 1e3


@dataclass(frozen=True)
class DWA(TaskLevel):
    """omega = K softmax(r / softness), r_k = mean loss of the last window / of the window before it.

    The paper's mean over an epoch is a mean over a window of batches here: the weighting does not know
    where an epoch ends, and sets of logs have epochs of very different length. In the first two windows
    r = 1, so omega = 1, as in the paper.

    Args:
        window: batches. Default 100.
        softness: T of the paper, temperature of the softmax. Default 2, the paper's.

    References:
        Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019: equation 7.
    """

    window: int = 100
    softness: float = 2.0

    def init(self, num_tasks: int) -> State:
        """Sum of the losses of this window and its batches; means of the last window and the one before."""
        zeros = tf.zeros(num_tasks)
        return (zeros, tf.zeros((), tf.int64), zeros, zeros)

    def task_weights(self, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        total, batches, last, before = state
        ratio = tf.where(before > 0, tf.math.divide_no_nan(last, before), 1.0)
        ratio = tf.minimum(ratio, _LARGEST_RATIO)
        weights = tf.cast(tf.size(losses), losses.dtype) * tf.nn.softmax(ratio / self.softness)
        total, batches = total + losses, batches + 1
        ends = batches >= self.window
        before = tf.where(ends, last, before)
        last = tf.where(ends, total / self.window, last)
        total = tf.where(ends, tf.zeros_like(total), total)
        return weights, (total, tf.where(ends, tf.zeros_like(batches), batches), last, before)
