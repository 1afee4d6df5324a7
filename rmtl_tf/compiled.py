"""Loops over bytes as machine code, outside Python's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


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
