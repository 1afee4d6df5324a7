"""Histograms of numbers that add up exactly, without knowing the range beforehand.

Bucket i of the grid with exponent k holds the numbers from i 2^k to (i + 1) 2^k. Two buckets of a grid are
one of the next coarser grid, so histograms on different grids meet on the coarser one, and the histogram
of the parts is the histogram of the whole. Heavy-tailed numbers are counted by sign(x) log(1 + |x|).
"""

from __future__ import annotations

import numpy as np

BUCKETS = 128
_DIGITS = 30  # a bucket is no finer than 2^-30 of the largest number: indices stay small


def forward(values: np.ndarray, log: bool) -> np.ndarray:
    """Where numbers lie on the grid's line."""
    return np.sign(values) * np.log1p(np.abs(values)) if log else values


def backward(places: np.ndarray, log: bool) -> np.ndarray:
    """The numbers at places of the grid's line."""
    return np.sign(places) * np.expm1(np.abs(places)) if log else places


def bucket(values: np.ndarray, log: bool) -> tuple[int, np.ndarray]:
    """The finest grid on which finite `values` [N] take at most `BUCKETS` buckets, and their buckets.

    Returns:
        exponent k, and the index of each value's bucket, int64 [N].
    """
    places = forward(np.asarray(values, np.float64), log)
    if places.size == 0:
        return 0, np.zeros(0, np.int64)
    largest = float(np.abs(places).max())
    exponent = int(np.frexp(largest)[1]) - _DIGITS
    index = np.floor(np.ldexp(places, -exponent)).astype(np.int64)
    return fit(exponent, index)


def fit(exponent: int, index: np.ndarray, buckets: int = BUCKETS) -> tuple[int, np.ndarray]:
    """The same buckets on the finest grid, from `exponent` on, that needs at most `buckets` of them."""
    while index.size and index.max() - index.min() >= buckets:
        exponent, index = exponent + 1, index >> 1
    return exponent, index


def coarsen(index: np.ndarray, exponent: int | np.ndarray, to: int) -> np.ndarray:
    """Buckets of grid `exponent` as buckets of the coarser grid `to`."""
    return index >> np.minimum(to - np.asarray(exponent), 63)


def edges(exponent: int, index: np.ndarray, log: bool) -> tuple[np.ndarray, np.ndarray]:
    """The numbers at which buckets begin and end."""
    return tuple(backward(np.ldexp((index + side).astype(np.float64), exponent), log) for side in (0, 1))  # type: ignore[return-value]


def beginning_at(low: np.ndarray, exponent: int, log: bool) -> np.ndarray:
    """The buckets that begin at the numbers `low`, as `edges` gave them."""
    return np.rint(np.ldexp(forward(low, log), -exponent)).astype(np.int64)


def quantiles(exponent: int, index: np.ndarray, counts: np.ndarray, log: bool, at: np.ndarray) -> np.ndarray:
    """The numbers below which shares `at` lie, taken as even inside a bucket: off by less than a bucket.

    Args:
        index, counts: rising buckets and how many numbers are in each; at least one number.
    """
    total = np.concatenate([[0], np.cumsum(counts)])
    wanted = at * total[-1]
    place = np.clip(np.searchsorted(total, wanted, side="left") - 1, 0, len(index) - 1)
    inside = (wanted - total[place]) / counts[place]
    return backward(np.ldexp(index[place] + inside, exponent), log)
