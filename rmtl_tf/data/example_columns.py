"""Serialized `tf.train.Example`s back to list columns.

The inverse of `example_proto.serialize`, for Examples in its form: the same features in every row, in one
order, numbers packed. Every byte that is not a value is checked, so an Example of another form is never
misread; `columns` says that it cannot read it, and a general decoder must.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from rmtl_tf.data import kernels

_ARROW = {"bytes": pa.large_binary(), "float": pa.float32(), "int": pa.int64()}
_KINDS = {"bytes": kernels.BYTES, "float": kernels.FLOATS, "int": kernels.INTS}


class _Feature(NamedTuple):
    """A feature of an Example: its key as it stands there, and what its list holds."""

    key: bytes
    name: str
    kind: int


def columns(data: np.ndarray, bounds: np.ndarray, types: Mapping[str, str]) -> pa.RecordBatch | None:
    """The features `types` of all Examples as list columns, in the order of `types`.

    Args:
        data: bytes, uint8.
        bounds: where each Example begins and ends in them, int64 [B, 2].
        types: feature -> `bytes`, `int` or `float`.

    Returns:
        Large lists of large_binary, int64 or float32, null for a feature that no Example has; None where the
        Examples are of another form.
    """
    if not len(bounds):
        return None
    features = _features(data[bounds[0, 0] : bounds[0, 1]].tobytes())
    if features is None or any(_KINDS[types[f.name]] != f.kind for f in features if f.name in types):
        return None
    keys = np.frombuffer(b"".join(feature.key for feature in features), np.uint8)
    key_bounds = np.cumsum([0, *(len(feature.key) for feature in features)])
    kinds = np.array([feature.kind for feature in features], np.int64)
    begin, end, count = np.empty((3, len(features), len(bounds)), np.int64)
    if not kernels.find_values(data, bounds, keys, key_bounds, kinds, begin, end, count):
        return None
    place = {feature.name: i for i, feature in enumerate(features)}
    found = {}
    for name, kind in types.items():
        if name not in place:
            found[name] = pa.nulls(len(bounds), pa.large_list(_ARROW[kind]))
            continue
        i = place[name]
        offsets = np.concatenate([[0], np.cumsum(count[i])])
        values = _READ[kind](data, begin[i], end[i], int(offsets[-1]))
        found[name] = pa.LargeListArray.from_arrays(pa.array(offsets), values)
    return pa.record_batch(found)


def _read_floats(data: np.ndarray, begin: np.ndarray, end: np.ndarray, count: int) -> pa.Array:
    values = np.empty(count, np.float32)
    kernels.read_floats(data, begin, end, values.view(np.uint8))
    return pa.array(values)


def _read_ints(data: np.ndarray, begin: np.ndarray, end: np.ndarray, count: int) -> pa.Array:
    values = np.empty(count, np.int64)
    kernels.read_ints(data, begin, end, values)
    return pa.array(values)


def _read_bytes(data: np.ndarray, begin: np.ndarray, end: np.ndarray, count: int) -> pa.Array:
    content, bounds = np.empty(int((end - begin).sum()), np.uint8), np.empty(count + 1, np.int64)
    kernels.read_bytes(data, begin, end, content, bounds)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), count, [None, pa.py_buffer(bounds), pa.py_buffer(content)]
    )


_READ = {"bytes": _read_bytes, "float": _read_floats, "int": _read_ints}


def _features(example: bytes) -> list[_Feature] | None:
    """The features of one Example in their order; None where it is of another form."""
    data, features = np.frombuffer(example, np.uint8), []
    at, end = kernels.field(data, 0, data.size, kernels.FIELD_1)
    while 0 <= at < end:
        entry, stop = kernels.field(data, at, end, kernels.FIELD_1)
        begin, past = kernels.field(data, entry, stop, kernels.FIELD_1)
        value, _ = kernels.field(data, past, stop, kernels.FIELD_2)
        if value < 0 or value == stop:
            return None
        try:
            features.append(_Feature(example[entry:past], example[begin:past].decode(), int(data[value])))
        except UnicodeDecodeError:
            return None
        at = stop
    return features if at == end == data.size else None
