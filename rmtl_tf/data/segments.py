"""Copies of many byte segments at once: what a loop over `out[a:b] = data[c:d]` would do, by numpy."""

from __future__ import annotations

import itertools

import numpy as np


def copy_segments(
    out: np.ndarray, to: np.ndarray, data: np.ndarray, start: np.ndarray, size: np.ndarray
) -> None:
    """Copies data[start[i] : start[i] + size[i]] to out[to[i] : to[i] + size[i]] for every i.

    Segments of one length go together, so the cost is that of the distinct lengths and of the bytes.

    Args:
        out, data: uint8, one-dimensional and contiguous.
        to, start, size: int64 [N].
    """
    if not size.size:
        return
    low, high = int(size.min()), int(size.max())
    if low == high:
        _copy(out, to, data, start, low)
        return
    # numpy sorts 16-bit numbers by radix.
    order = np.argsort(size.astype(np.uint16) if high < 1 << 16 else size, kind="stable")
    ordered = size[order]
    bounds = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), ordered.size]
    for first, past in itertools.pairwise(bounds):
        rows = order[first:past]
        _copy(out, to[rows], data, start[rows], int(ordered[first]))


def _copy(out: np.ndarray, to: np.ndarray, data: np.ndarray, start: np.ndarray, size: int) -> None:
    if size:
        windows(out, size)[to] = windows(data, size)[start]


def windows(data: np.ndarray, size: int) -> np.ndarray:
    """The segment of `size` bytes that begins at each byte of `data`, as void scalars; a view."""
    count = max(data.size - size + 1, 0)
    return np.ndarray((count,), f"V{size}", data, strides=(1,))
