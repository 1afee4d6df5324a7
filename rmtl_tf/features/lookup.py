"""Ids of values by a vocabulary, without a Python object for either."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc


class Lookup:
    """Maps values to their place in a vocabulary by binary search among 64-bit hashes.

    A dictionary of two million values takes half a gigabyte and holds Python's lock while it is asked.

    Args:
        vocabulary: distinct values.
    """

    def __init__(self, vocabulary: Sequence[bytes]) -> None:
        values = pa.array(vocabulary, pa.large_binary())
        for self._seed in itertools.count():
            hashes = self._hash(values)
            order = np.argsort(hashes)
            self._hashes = hashes[order]
            if (self._hashes[1:] != self._hashes[:-1]).all():
                break
        self._places = order
        self._values = values.take(pa.array(order))

    def __call__(self, values: pa.Array) -> np.ndarray:
        """The place of each value, int64 [N]; -1 for unknown and null ones.

        Args:
            values: binary [N].
        """
        places = np.full(len(values), -1, np.int64)
        if not len(self._hashes):
            return places
        hashes = self._hash(values)
        found = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        rows = np.flatnonzero(self._hashes[found] == hashes)
        found = found[rows]
        # Another value may have the same hash.
        same = pc.equal(values.take(pa.array(rows)), self._values.take(pa.array(found))).fill_null(False)
        same = same.to_numpy(zero_copy_only=False)
        places[rows[same]] = self._places[found[same]]
        return places

    def _hash(self, values: pa.Array) -> np.ndarray:
        series = pl.from_arrow(values)
        assert isinstance(series, pl.Series)
        return series.hash(seed=self._seed).to_numpy()
