"""Ids of values by a vocabulary, without a Python object for either."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from rmtl_tf.compiled import binary_buffers, compiled

_EMPTY = -1


class Lookup:
    """Maps values to their place in a vocabulary by a hash table of places (linear probing).

    A dictionary of two million values takes half a gigabyte and holds Python's lock while it is asked.

    Args:
        vocabulary: large_binary, distinct values.
    """

    def __init__(self, vocabulary: pa.LargeBinaryArray) -> None:
        self._data, self._bounds = binary_buffers(vocabulary)
        slots = 1 << (2 * len(vocabulary)).bit_length()  # at most half of them are taken
        self._table = np.full(slots, _EMPTY, np.int32)
        _fill(self._table, self._data, self._bounds)

    def __call__(self, values: pa.Array) -> np.ndarray:
        """The place of each value, int64 [N]; -1 for unknown and null ones.

        Args:
            values: large_binary [N].
        """
        places = np.empty(len(values), np.int64)
        _find(self._table, self._data, self._bounds, *binary_buffers(values), places)
        if values.null_count:
            places[values.is_null().to_numpy(zero_copy_only=False)] = -1
        return places


@compiled
def _slot(table, data, bounds, other, begin, end):
    """The slot of the value other[begin:end] in a table of places in `data`, or the empty one for it."""
    code = np.uint64(0xCBF29CE484222325)
    for i in range(begin, end):  # FNV-1a
        code = (code ^ np.uint64(other[i])) * np.uint64(0x100000001B3)
    slot = np.int64((code ^ code >> np.uint64(32)) & np.uint64(table.size - 1))
    while table[slot] != _EMPTY:
        first = bounds[table[slot]]
        if bounds[table[slot] + 1] - first == end - begin:
            same = 0
            while same < end - begin and data[first + same] == other[begin + same]:
                same += 1
            if same == end - begin:
                break
        slot = (slot + 1) & (table.size - 1)
    return slot


@compiled
def _fill(table, data, bounds):
    for place in range(bounds.size - 1):
        table[_slot(table, data, bounds, data, bounds[place], bounds[place + 1])] = place


@compiled
def _find(table, data, bounds, other, other_bounds, places):
    for i in range(places.size):
        places[i] = table[_slot(table, data, bounds, other, other_bounds[i], other_bounds[i + 1])]
