"""Any weighting, tempered, normalised and capped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from rmtl_tf import replicas
from rmtl_tf.weighting.base import Context, State, Weighting


@dataclass(frozen=True)
class Scaled:
    """Takes the weights of `inner` to the power 1 / temperature, divides them by their mean over the
    batch's valid records, then caps them.

    Where the mean is 0 (no valid record, or only weights of 0) the weights stay as they are.

    Args:
        inner: the weighting.
        normalise: "batch": one mean over records and tasks; "task": one for each task; "none".
        cap: largest weight, applied last; None for no limit.
        temperature: T > 0, omega^(1 / T): above 1 the weights become more even, below less; 1 leaves
            them as they are, to the bit. Without `normalise` or `cap`, a low one can make large weights
            infinite.
    """

    inner: Weighting
    normalise: Literal["none", "batch", "task"] = "none"
    cap: float | None = None
    temperature: float = 1.0

    @property
    def NEEDS(self) -> frozenset[str]:  # noqa: N802 - as in `Weighting`
        return self.inner.NEEDS if self.normalise == "none" else self.inner.NEEDS | {"mask"}

    def init(self, num_tasks: int) -> State:
        return self.inner.init(num_tasks)

    def update(self, losses: tf.Tensor, context: Context, state: State) -> tuple[tf.Tensor, State]:
        weights, state = self.inner.update(losses, context, state)
        axis = None if self.normalise == "batch" else 0
        if self.temperature != 1:
            if self.normalise != "none":
                # The scale does not matter: a high power of at most 1 is never infinite.
                weights = tf.minimum(weights / _largest(weights, context.mask, axis), 1.0)
            weights = tf.pow(weights, 1.0 / self.temperature)
        if self.normalise != "none":
            weights = weights / _mean(weights, context.mask, axis)
        if self.cap is not None:
            weights = tf.minimum(weights, tf.cast(self.cap, weights.dtype))
        return tf.stop_gradient(weights), state


def _valid(weights: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Whether a row's mask is above 0, [N, K] as the weights."""
    valid = tf.ones_like(weights, tf.bool)
    return valid if mask is None else valid & (tf.cast(mask, weights.dtype)[:, tf.newaxis] > 0)


def _largest(weights: tf.Tensor, mask: tf.Tensor | None, axis: int | None) -> tf.Tensor:
    """As `_mean`, the largest weight."""
    largest = replicas.largest(tf.reduce_max(tf.where(_valid(weights, mask), weights, 0.0), axis))
    return tf.where(largest > 0, largest, tf.ones_like(largest))


def _mean(weights: tf.Tensor, mask: tf.Tensor | None, axis: int | None) -> tf.Tensor:
    """Mean of weights [N, K] over rows with a mask above 0, and tasks unless `axis` is 0; 1 instead of 0."""
    valid = _valid(weights, mask)
    # Numerator and count are the same reduction, so the mean of ones is exactly 1.
    total = tf.reduce_sum(tf.where(valid, weights, 0.0), axis)
    count = tf.reduce_sum(tf.cast(valid, weights.dtype), axis)
    mean = tf.math.divide_no_nan(*replicas.total([total, count]))
    return tf.where(mean > 0, mean, tf.ones_like(mean))
