"""The gradients of every task, and their weighted sum: what the gradient methods need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from rmtl_tf.optimizers.slices import SummedSlices
from rmtl_tf.weighting.base import State
from rmtl_tf.weighting.gradient_method import GradientMethod


def combined_gradients(
    method: GradientMethod,
    tape: tf.GradientTape,
    losses: Sequence[tf.Tensor],
    variables: Sequence[Any],
    state: State,
) -> tuple[list[Any], tf.Tensor, State]:
    """One gradient for each variable, the method's weights [K], and its next state.

    K backward passes. A variable which at most one task's gradient reaches in this batch (a tower) is that
    task's own: it takes no part in the method, and its gradient is that of the mean over tasks. The
    gradient of an embedding table stays row-sparse.

    Args:
        tape: persistent, with `losses` recorded.
        losses: mean loss of each of the K tasks, scalars.
        variables: the model's.
        state: the method's.
    """
    count = len(losses)
    by_task = [tape.gradient(loss, variables) for loss in losses]
    parts = [_Part(gradients) if _any(gradients) else None for gradients in zip(*by_task, strict=True)]
    gram = tf.zeros((count, count))
    for part in parts:
        if part is not None:
            gram += tf.where(part.is_shared, part.gram, tf.zeros_like(gram))
    weights, state = method.combine(gram, tf.stop_gradient(tf.stack(losses)), state)
    even = tf.fill((count,), tf.constant(1.0 / count))
    gradients = [
        None if part is None else part.sum(tf.where(part.is_shared, weights, even)) for part in parts
    ]
    return gradients, weights, state


def _any(gradients: Sequence[Any]) -> bool:
    return any(gradient is not None for gradient in gradients)


class _Part:
    """The K gradients of one variable as rows of a matrix.

    Attributes:
        rows: [K, M].
        gram: their inner products [K, K].
        is_shared: whether more than one task's is not 0.
    """

    def __init__(self, gradients: Sequence[Any]) -> None:
        if any(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
            self.rows, self._restore = _sparse_rows(gradients)
        else:
            self.rows, self._restore = _dense_rows(gradients)
        self.gram = tf.matmul(self.rows, self.rows, transpose_b=True)
        # Not by the norms: the square of a small number may be 0.
        self.is_shared = tf.math.count_nonzero(tf.reduce_any(self.rows != 0, axis=1)) > 1

    def sum(self, weights: tf.Tensor) -> Any:
        """The gradients' sum with weights [K], in the variable's own form."""
        return self._restore(tf.linalg.matvec(self.rows, weights, transpose_a=True))


def _dense_rows(gradients: Sequence[Any]) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    example = next(gradient for gradient in gradients if gradient is not None)
    dense = [tf.zeros_like(example) if gradient is None else gradient for gradient in gradients]
    rows = tf.reshape(tf.stack(dense), (len(dense), -1))
    return rows, lambda flat: tf.reshape(flat, tf.shape(example))


def _sparse_rows(gradients: Sequence[Any]) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    """Rows over the table rows that any task read; a table row read twice is summed first."""
    slices = [_as_slices(gradient) for gradient in gradients if gradient is not None]
    found, place = tf.unique(tf.concat([part.indices for part in slices], axis=0))
    width = tf.shape(slices[0].values)[1:]
    shape = tf.concat([tf.shape(found), width], axis=0)
    places = iter(tf.split(place, [tf.shape(part.indices)[0] for part in slices]))
    values = iter(slices)
    dense = [
        tf.zeros(shape, slices[0].values.dtype)
        if gradient is None
        else tf.math.unsorted_segment_sum(next(values).values, next(places), tf.size(found))
        for gradient in gradients
    ]
    rows = tf.reshape(tf.stack(dense), (len(dense), -1))
    dense_shape = slices[0].dense_shape
    return rows, lambda flat: SummedSlices(tf.reshape(flat, shape), found, dense_shape)


def _as_slices(gradient: Any) -> tf.IndexedSlices:
    if isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.IndexedSlices(gradient, tf.range(tf.shape(gradient)[0]), tf.shape(gradient))
