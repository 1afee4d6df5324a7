"""Who watches a training: told of every finished epoch, and free to end it with an exception.

Being watched is no setting of a training: it changes neither its results nor its cache key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Observer = Callable[[str, Mapping[str, float]], None]

_observer: Observer | None = None


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Inside, `observer(phase, epoch)` is called after every epoch of every phase of this process.

    `epoch` is the epoch's entry of the phase's history: its number, from 1, the means of its batches' logs
    and its validation metrics. A phase that goes on from a checkpoint first tells the epochs behind it.
    """
    global _observer
    before, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = before


def tell(phase: str, epoch: Mapping[str, float]) -> None:
    if _observer is not None:
        _observer(phase, epoch)
