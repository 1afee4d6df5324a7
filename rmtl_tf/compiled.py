"""Loops over bytes as machine code, outside Python's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pyarrow as pa


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles `function` with numba when it is first called; other processes find the code on disk.

    It lies in `__pycache__` beside the source or, where that cannot be written, in the user's cache folder
    (`NUMBA_CACHE_DIR` names another). Where neither can, each process compiles for itself.

    numba notices a change of the file in which a function stands, not of those it calls into: compiled
    functions that call each other belong in one file.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder for the cache
        return numba.njit(nogil=True)(function)


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to: for other arrays a function would be compiled once more."""
    array = array.view()
    array.flags.writeable = False
    return array


def binary_buffers(values: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """Arrow's buffers of N values: bytes, and the bounds [N + 1] of each in them; null ones have no bytes."""
    _, bounds, content = values.buffers()
    data = np.frombuffer(b"" if content is None else content, np.uint8)
    if not len(values):
        return read_only(data), read_only(np.zeros(1, np.int64))
    return read_only(data), read_only(np.frombuffer(bounds, np.int64)[values.offset :][: len(values) + 1])
