"""The vectors of a compressed input: two rows of the table become one (`rmtl_tf.features.compression`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.features.compression import PRODUCT, Layout
from rmtl_tf.features.ids import FIRST_ID


def compose(
    ids: tf.Tensor, layout: Layout, operation: str, read: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """The vectors [..., D] of ids [...]: r * q or r + q of the rows r by remainder and q by quotient.

    Ids 0 and 1 are their own rows, untouched.

    Args:
        read: rows [..., 2] of the input's part of the table -> their values [..., 2, D].
    """
    own = ids < FIRST_ID
    number = tf.maximum(ids - FIRST_ID, 0)
    rows = tf.where(own, ids, FIRST_ID + number % layout.remainders)
    quotients = layout.first_quotient + number // layout.remainders
    one, other = tf.unstack(read(tf.stack([rows, quotients], axis=-1)), axis=-2)
    return tf.where(own[..., tf.newaxis], one, one * other if operation == PRODUCT else one + other)


class FactorsNearOne:
    """An initializer that moves the quotients' rows to 1.

    A new product then is about its remainder's row, as large as any other row; the product of two rows near 0
    would be smaller than that by far and hardly learn.

    Args:
        start: the initializer of all rows.
        parts: (first row, layout) of each input in the table.
    """

    def __init__(self, start: Callable[..., Any], parts: Sequence[tuple[int, Layout]]) -> None:
        self.start, self.parts = start, parts

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        factors = np.zeros((shape[0], 1), np.float32)
        for first, layout in self.parts:
            factors[first + layout.first_quotient : first + layout.rows] = 1
        return self.start(shape, dtype) + keras.ops.cast(factors, dtype)
