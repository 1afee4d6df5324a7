"""List columns to serialized `tf.train.Example`s.

The wire form is that of protocol buffers, with features in name order and packed numbers: equal columns
give equal bytes in every process. (tfx-bsl's encoder orders features by a hash that each process seeds anew;
one feature at a time it takes thirty times as long.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from rmtl_tf.compiled import binary_buffers, read_only
from rmtl_tf.data import kernels

_ROWS = 1024  # all features of so many rows stay in the processor's cache
_NO_NULLS, _NO_BYTES, _NO_NUMBERS = (read_only(np.zeros(0, kind)) for kind in (bool, np.uint8, np.int64))


class _Column(NamedTuple):
    """A feature as `kernels.write` takes it."""

    kind: int
    key: np.ndarray
    offsets: np.ndarray
    null: np.ndarray
    data: np.ndarray = _NO_BYTES
    bounds: np.ndarray = _NO_NUMBERS
    numbers: np.ndarray = _NO_NUMBERS


def serialize(batch: pa.RecordBatch, before: int = 0, after: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Serializes every row of `batch` as a `tf.train.Example`, one after another.

    Args:
        batch: columns of large_list of large_binary, int64 or float32. A null list gives a feature without
            values.
        before, after: how many bytes to leave around each Example.

    Returns:
        The bytes, uint8 [...], and where each Example begins and ends in them, int64 [B, 2].
    """
    if batch.num_columns == 0:
        raise ValueError("serialize: expected at least one column, received none")
    columns = [_column(name, batch[name]) for name in sorted(batch.schema.names, key=str.encode)]
    rows = len(batch)
    content, total = np.empty((len(columns), rows), np.int64), np.zeros(rows, np.int64)
    for first in range(0, rows, _ROWS):
        past = min(first + _ROWS, rows)
        for column, size in zip(columns, content, strict=True):
            kind, key, offsets, null, _, bounds, numbers = column
            kernels.measure(first, past, kind, key, offsets, null, bounds, numbers, size, total)
    bounds = np.empty((rows, 2), np.int64)
    out = np.empty(kernels.lay_examples(total, before, after, bounds), np.uint8)
    at = np.empty(rows, np.int64)
    for first in range(0, rows, _ROWS):
        past = min(first + _ROWS, rows)
        kernels.begin_examples(first, past, total, bounds, out, at)
        for column, size in zip(columns, content, strict=True):
            kernels.write(first, past, *column, size, out, at)
    return out, bounds


def _column(name: str, column: pa.LargeListArray) -> _Column:
    key, offsets = np.frombuffer(name.encode(), np.uint8), read_only(column.offsets.to_numpy())
    null = read_only(column.is_null().to_numpy(zero_copy_only=False)) if column.null_count else _NO_NULLS
    kind, values = column.type.value_type, column.values
    if pa.types.is_large_binary(kind):
        data, bounds = binary_buffers(values)
        return _Column(kernels.BYTES, key, offsets, null, data=data, bounds=bounds)
    if pa.types.is_floating(kind):
        return _Column(kernels.FLOATS, key, offsets, null, data=_numbers(values, np.float32).view(np.uint8))
    return _Column(kernels.INTS, key, offsets, null, numbers=_numbers(values, np.int64))


def _numbers(values: pa.Array, dtype: type) -> np.ndarray:
    return read_only(values.to_numpy(zero_copy_only=False).astype(dtype, copy=False))
