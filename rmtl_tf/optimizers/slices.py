"""Row-sparse gradients in which every row stands once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


class SummedSlices(tf.IndexedSlices):
    """The gradient of a table, `values` [U, D] at `indices` [U], no index twice: what a row-sparse rule
    needs, as it is no linear function of the gradient."""


def summed(gradient: tf.IndexedSlices | tf.Tensor) -> SummedSlices:
    """`gradient` of a table [R, D] with the rows of one index added up, in an order that is always the same.

    A dense gradient has all rows.
    """
    if isinstance(gradient, SummedSlices):
        return gradient
    if not isinstance(gradient, tf.IndexedSlices):
        gradient = tf.convert_to_tensor(gradient)
        return SummedSlices(gradient, tf.range(tf.shape(gradient)[0]), tf.shape(gradient))
    rows, place = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
    return SummedSlices(values, rows, gradient.dense_shape)


def sum_duplicates(gradients: Sequence[Any]) -> list[Any]:
    """Every row-sparse one of `gradients` as `SummedSlices`: only of these is the norm that of the values."""
    return [summed(part) if isinstance(part, tf.IndexedSlices) else part for part in gradients]


def map_values(gradient: Any, function: Callable[[tf.Tensor], tf.Tensor]) -> Any:
    """`function` of a dense gradient, or of the values of a summed one."""
    if isinstance(gradient, SummedSlices):
        return SummedSlices(function(gradient.values), gradient.indices, gradient.dense_shape)
    return function(gradient)
