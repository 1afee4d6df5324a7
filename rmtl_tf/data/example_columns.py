"""Serialized `tf.train.Example`s back to list columns, all rows of a feature at a time.

The inverse of `example_proto.serialize`, for Examples in its form: the same features in every row, in one
order, numbers packed. Every byte that is not a value is checked, so an Example of another form is never
misread; `columns` says that it cannot read it, and a general decoder must.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rmtl_tf.data.segments import copy_segments, windows

_LENGTHED = {1: 0x0A, 2: 0x12, 3: 0x1A}  # field -> its tag
_ARROW = {"bytes": pa.large_binary(), "float": pa.float32(), "int": pa.int64()}
_KINDS = {0x0A: "bytes", 0x12: "float", 0x1A: "int"}


class _OtherFormError(Exception):
    """The Examples are not in the form that `serialize` writes."""


@dataclass(frozen=True)
class _Feature:
    """A feature of the first Example: its key as it stands there, and what its list holds."""

    key: bytes
    kind: str

    @property
    def name(self) -> str:
        return self.key[2:-1].decode()


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
    try:
        return _columns(data, bounds, types)
    except (_OtherFormError, IndexError, UnicodeDecodeError):
        return None


def _columns(data: np.ndarray, bounds: np.ndarray, types: Mapping[str, str]) -> pa.RecordBatch:
    features = _features(data[bounds[0, 0] : bounds[0, 1]].tobytes())
    kinds = {feature.name: feature.kind for feature in features}
    _require(all(kinds.get(name, kind) == kind for name, kind in types.items()))
    at, end = _message(data, bounds[:, 0], bounds[:, 1], _LENGTHED[1])
    found = {}
    for feature in features:
        at, stop = _field(data, at, end, _LENGTHED[1])
        begin, at = _values_of(data, at, stop, feature), stop
        if feature.name in types:
            found[feature.name] = _READ[feature.kind](data, begin, stop)
    _require((at == end).all())
    absent = {kind: pa.nulls(len(bounds), pa.large_list(values)) for kind, values in _ARROW.items()}
    return pa.record_batch({name: found.get(name, absent[kind]) for name, kind in types.items()})


def _values_of(data: np.ndarray, at: np.ndarray, end: np.ndarray, feature: _Feature) -> np.ndarray:
    """Where the values begin in a map entry that reaches from `at` to `end`; they reach to its end."""
    size = len(feature.key)
    _require((at + size <= end).all())
    keys = windows(data, size)[at].view(np.uint8).reshape(-1, size)
    _require((keys == np.frombuffer(feature.key, np.uint8)).all())
    at, _ = _length(data, at + size, end)
    tag = {kind: tag for tag, kind in _KINDS.items()}[feature.kind]
    at, _ = _message(data, at, end, tag)
    if feature.kind == "bytes":
        return at
    given = at < end
    if given.all():
        return _message(data, at, end, _LENGTHED[1])[0]
    begin = at.copy()
    begin[given] = _message(data, at[given], end[given], _LENGTHED[1])[0]
    return begin


def _message(data: np.ndarray, at: np.ndarray, end: np.ndarray, tag: int) -> tuple[np.ndarray, np.ndarray]:
    """The content of a field that begins at `at` and must fill all up to `end`."""
    begin, stop = _field(data, at, end, tag)
    _require((stop == end).all())
    return begin, stop


def _field(data: np.ndarray, at: np.ndarray, end: np.ndarray, tag: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the content of the field at `at` begins and ends; it must have this tag and end by `end`."""
    _require((at < end).all())
    _require((data[at] == tag).all())
    begin, size = _varint(data, at + 1)
    _require((begin + size <= end).all())
    return begin, begin + size


def _length(data: np.ndarray, at: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    begin, size = _varint(data, at)
    _require((begin + size == end).all())
    return begin, size


def _varint(data: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that stand at `at`, and where they end: (end, number)."""
    byte = data[at]
    number, end = (byte & 0x7F).astype(np.int64), at + 1
    rows, shift = np.flatnonzero(byte > 0x7F), 7
    while rows.size:
        _require(shift < 63)
        byte = data[end[rows]]
        number[rows] |= (byte & 0x7F).astype(np.int64) << shift
        end[rows] += 1
        rows, shift = rows[byte > 0x7F], shift + 7
    return end, number


def _read_floats(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> pa.LargeListArray:
    _require(((end - begin) % 4 == 0).all())
    content, bounds = _together(data, begin, end - begin)
    return pa.LargeListArray.from_arrays(pa.array(bounds // 4), pa.array(content.view(np.float32)))


def _read_ints(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> pa.LargeListArray:
    content, bounds = _together(data, begin, end - begin)
    last = content < 0x80
    offsets = np.concatenate([[0], np.cumsum(last)])[bounds]
    # No number goes over from one row into the next.
    _require(last[bounds[1:][bounds[1:] > bounds[:-1]] - 1].all())
    if last.all():
        return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(content.astype(np.int64)))
    stop = np.flatnonzero(last) + 1
    start = np.concatenate([[0], stop[:-1]])
    sizes = stop - start
    _require(sizes.max() <= 10)
    numbers = np.zeros(start.size, np.uint64)
    for place in range(int(sizes.max())):
        rows = np.flatnonzero(sizes > place)
        numbers[rows] |= (content[start[rows] + place].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(
            7 * place
        )
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(numbers.view(np.int64)))


def _read_bytes(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> pa.LargeListArray:
    rows, at = np.arange(begin.size), begin
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    count = np.zeros(begin.size, np.int64)
    while True:
        more = at < end[rows]
        if not more.all():
            rows, at = rows[more], at[more]
        if not rows.size:
            break
        start, stop = _field(data, at, end[rows], _LENGTHED[1])
        found.append((rows, start, stop - start))
        count[rows] += 1
        at = stop
    offsets = np.concatenate([[0], np.cumsum(count)])
    start, size = np.zeros(offsets[-1], np.int64), np.zeros(offsets[-1], np.int64)
    for step, (rows, starts, sizes) in enumerate(found):
        start[offsets[rows] + step], size[offsets[rows] + step] = starts, sizes
    content, bounds = _together(data, start, size)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(content)]
    values = pa.LargeBinaryArray.from_buffers(pa.large_binary(), offsets[-1], buffers)
    return pa.LargeListArray.from_arrays(pa.array(offsets), values)


_READ = {"float": _read_floats, "int": _read_ints, "bytes": _read_bytes}


def _together(data: np.ndarray, start: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segments one after another, and their bounds: uint8 [...], int64 [N + 1]."""
    bounds = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    content = np.empty(bounds[-1], np.uint8)
    copy_segments(content, bounds[:-1], data, start, size)
    return content, bounds


def _features(example: bytes) -> list[_Feature]:
    """The features of one Example in their order."""
    data = np.frombuffer(example, np.uint8)
    at, end = _message(data, np.array([0]), np.array([data.size]), _LENGTHED[1])
    features = []
    while at[0] < end[0]:
        entry, stop = _field(data, at, end, _LENGTHED[1])
        name, after = _field(data, entry, stop, _LENGTHED[1])
        _require(after[0] < stop[0] and data[after[0]] == _LENGTHED[2])
        value, _ = _length(data, after + 1, stop)
        _require(value[0] < stop[0] and int(data[value[0]]) in _KINDS)
        key = example[entry[0] : after[0] + 1]
        _require(name[0] - entry[0] == 2)
        features.append(_Feature(key, _KINDS[int(data[value[0]])]))
        at = stop
    return features


def _require(true: bool | np.bool_) -> None:
    if not true:
        raise _OtherFormError
