"""The session Markov decision process as pure functions (paper, sections 3-4; METHOD 2-4).

State: the features of a record; action: the actor's prediction for a task; reward: the negative
binary cross-entropy of that prediction; transition: the next record of the session, whatever the
action; the last record is terminal.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy in nats, [N, K], from labels and logits [N, K]; never infinite.

    In the labels' precision, whatever that of the logits (bfloat16 under Keras' mixed policy).
    """
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=tf.cast(logits, labels.dtype))


def rewards(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """r = y ln a + (1 - y) ln(1 - a) <= 0 with a = sigmoid(logits), [N, K] (METHOD 2)."""
    return -cross_entropy(labels, logits)


def action_rewards(labels: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """r = y ln a + (1 - y) ln(1 - a) <= 0 of any actions a [N, K] strictly between 0 and 1, [N, K]."""
    return labels * tf.math.log(actions) + (1.0 - labels) * tf.math.log1p(-actions)


def td_targets(reward: tf.Tensor, next_values: tf.Tensor, done: tf.Tensor, gamma: float) -> tf.Tensor:
    """TD = r + gamma (1 - done) Q(s', a'), [N, K] (METHOD 4).

    Args:
        reward: [N, K].
        next_values: [N, K], the target critic at the next record; ignored where done.
        done: [N], 1 at the last record of a session.
        gamma: discount in [0, 1].
    """
    return reward + gamma * (1.0 - done[:, tf.newaxis]) * next_values


def soft_update(target: list[Any], online: list[Any], beta: float) -> None:
    """target <- beta * online + (1 - beta) * target, variable by variable (METHOD 3)."""
    for old, new in zip(target, online, strict=True):
        old.assign(beta * new + (1.0 - beta) * old)


def discounted_returns(
    reward: np.ndarray, done: np.ndarray, lookahead: np.ndarray, gamma: float
) -> np.ndarray:
    """Monte-Carlo return G_t = r_t + gamma G_{t+1} of every record, by one backward scan.

    Args:
        reward: [R, K], rows of one session after another, in time order.
        done: [R], True at the last record of a session.
        lookahead: [R], True for the extra row at the end of a cut window, a copy of the row after it.
        gamma: discount in [0, 1].

    Returns:
        [R, K] float64. A look-ahead row has the return of the record it copies.
    """
    ends = np.flatnonzero(done)
    real = (~lookahead).astype(np.int64)
    # Records from each row to the end of its session, look-ahead rows not counted.
    before = np.cumsum(real) - real
    end_of_row = ends[np.searchsorted(ends, np.arange(len(done)))]
    remaining = before[end_of_row] - before
    returns = np.asarray(reward, np.float64).copy()
    rows = np.flatnonzero(real)
    order = rows[np.argsort(remaining[rows], kind="stable")]
    bounds = np.searchsorted(remaining[order], np.arange(1, remaining.max(initial=0) + 2))
    for start, stop in pairwise(bounds):
        now = order[start:stop]
        successor = now + 1 + lookahead[now + 1]
        returns[now] += gamma * returns[successor]
    extra = np.flatnonzero(lookahead)
    returns[extra] = returns[extra + 1]
    return returns
