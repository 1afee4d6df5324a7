"""List columns to serialized `tf.train.Example`s, all rows of a column at a time.

The wire form is that of protocol buffers, with features in name order and packed numbers: equal columns
give equal bytes in every process. (tfx-bsl's encoder orders features by a hash that each process seeds anew;
one feature at a time it takes ten times as long.)

What stands before the values of a feature depends on nothing but their size. So for every distinct size there
is one head, and an Example is an alternation of heads and of segments of Arrow's own buffers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from rmtl_tf.data.segments import copy_segments

# Field 1, 2 or 3 of a message, with a length before its content.
_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"


class _Pieces:
    """Segments that are laid one after another in every row."""

    def __init__(self, rows: int) -> None:
        self.size = np.zeros(rows, np.int64)
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, data: np.ndarray, start: np.ndarray, size: np.ndarray) -> None:
        self._parts.append((data, start, size))
        self.size = self.size + size

    def add_head(self, sizes: np.ndarray, head: Callable[[int], bytes]) -> None:
        """head(size) for each of `sizes` [B], computed once for each distinct one."""
        distinct, place = _distinct(sizes)
        table = [head(size) for size in distinct.tolist()]
        lengths = np.array([len(data) for data in table], np.int64)
        data = np.frombuffer(b"".join(table), np.uint8)
        self.add(data, (np.cumsum(lengths) - lengths)[place], lengths[place])

    def write(self, out: np.ndarray, to: np.ndarray) -> None:
        """Copies the pieces of row i to out[to[i]:]."""
        for data, start, size in self._parts:
            copy_segments(out, to, data, start, size)
            to = to + size


def serialize(
    batch: pa.RecordBatch, before: Callable[[int], bytes] = lambda size: b"", after: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Serializes every row of `batch` as a `tf.train.Example`, one after another.

    Args:
        batch: columns of large_list of large_binary, int64 or float32. A null list gives a feature without
            values.
        before: the bytes to put before an Example of this size.
        after: how many zero bytes to put after each Example.

    Returns:
        The bytes, uint8 [...], and where each Example begins and ends in them, int64 [B, 2].
    """
    if batch.num_columns == 0:
        raise ValueError("serialize: expected at least one column, received none")
    body = _Pieces(len(batch))
    for name in sorted(batch.schema.names, key=str.encode):
        _add_feature(body, name, batch[name])
    head = _Pieces(len(batch))
    head.add_head(body.size, lambda size: _FIELD_1 + varint(size))
    size = head.size + body.size
    frame = _Pieces(len(batch))
    frame.add_head(size, before)
    ends = np.cumsum(frame.size + size + after)
    out = np.zeros(int(ends[-1]) if ends.size else 0, np.uint8)
    begin = ends - after - size
    frame.write(out, begin - frame.size)
    head.write(out, begin)
    body.write(out, begin + head.size)
    return out, np.stack([begin, begin + size], axis=1)


def varint(number: int) -> bytes:
    """A non-negative number in base 128, the least significant digit first."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _add_feature(body: _Pieces, name: str, column: pa.LargeListArray) -> None:
    offsets = column.offsets.to_numpy()
    kind, values = column.type.value_type, column.values
    if pa.types.is_large_binary(kind):
        (data, ends), packed, tag = _tagged(values), False, _FIELD_1
        bounds = ends[offsets]
    elif pa.types.is_floating(kind):
        data, packed, tag = _numbers(values, np.float32).view(np.uint8), True, _FIELD_2
        bounds = 4 * offsets
    else:
        (data, ends), packed, tag = varints(_numbers(values, np.int64)), True, _FIELD_3
        bounds = ends[offsets]
    sizes = np.diff(bounds)
    null = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    key = _FIELD_1 + varint(len(name.encode())) + name.encode()

    def head(size: int) -> bytes:
        inner = _FIELD_1 + varint(size) if packed and size > 0 else b""
        feature = tag + varint(len(inner) + size) + inner if size >= 0 else b""
        size = max(size, 0)
        entry = key + _FIELD_2 + varint(len(feature) + size) + feature
        return _FIELD_1 + varint(len(entry) + size) + entry

    body.add_head(sizes if null is None else np.where(null, -1, sizes), head)
    body.add(data, bounds[:-1], sizes)


def _tagged(values: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """Every value with the tag and length it has in a bytes list: uint8 [...], and the bounds [N + 1]."""
    bounds = np.frombuffer(values.buffers()[1], np.int64)[values.offset :][: len(values) + 1]
    pieces, sizes = _Pieces(len(values)), np.diff(bounds)
    pieces.add_head(sizes, lambda size: _FIELD_1 + varint(size))
    content = values.buffers()[2]
    pieces.add(np.frombuffer(content if content is not None else b"", np.uint8), bounds[:-1], sizes)
    ends = np.concatenate([[0], np.cumsum(pieces.size)])
    data = np.empty(ends[-1], np.uint8)
    pieces.write(data, ends[:-1])
    return data, ends


def varints(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All int64 numbers [N] as varints, one after another: uint8 [...], and their bounds [N + 1]."""
    digits = numbers.view(np.uint64)
    sizes = np.ones(numbers.size, np.int64)
    for place in range(1, 10):
        longer = digits >= np.uint64(1) << np.uint64(7 * place)
        if not longer.any():
            break
        sizes += longer
    ends = np.concatenate([[0], np.cumsum(sizes)])
    data = np.empty(ends[-1], np.uint8)
    for place in range(int(sizes.max(initial=0))):
        rows = np.flatnonzero(sizes > place)
        digit = (digits[rows] >> np.uint64(7 * place)) & np.uint64(0x7F)
        more = (sizes[rows] > place + 1).astype(np.uint8) << 7
        data[ends[rows] + place] = digit.astype(np.uint8) | more
    return data, ends


def _distinct(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`np.unique` with its inverse, without a sort where numbers are small."""
    if not numbers.size or numbers.max() > 1 << 20:
        return np.unique(numbers, return_inverse=True)
    low = numbers.min()
    seen = np.bincount(numbers - low) > 0
    return np.flatnonzero(seen) + low, (np.cumsum(seen) - 1)[numbers - low]


def _numbers(values: pa.Array, dtype: type) -> np.ndarray:
    if not len(values):
        return np.zeros(0, dtype)
    return np.frombuffer(values.buffers()[1], dtype)[values.offset :][: len(values)]
