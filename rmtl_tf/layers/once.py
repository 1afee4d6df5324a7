"""What two forward passes of one step have in common is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_results: ContextVar[dict[Any, tuple[Any, Any]] | None] = ContextVar("results", default=None)


@contextmanager
def shared_passes() -> Iterator[None]:
    """Inside, layers that call `once` compute a thing once: a pass with dropout and one without share
    everything below the first dropout, which is most of the work where the first layer is the widest.

    The variables must not change inside.
    """
    token = _results.set({})
    try:
        yield
    finally:
        _results.reset(token)


def once(part: Any, x: Any, compute: Callable[[Any], Any]) -> Any:
    """`compute(x)`; inside `shared_passes` the result of the first call with this `part` and tensor `x`.

    Args:
        part: what computes it: a layer, or a tuple with one; hashable.
        x: a tensor or a tuple of tensors; equal means the same objects.
    """
    results = _results.get()
    if results is None:
        return compute(x)
    key = part, (tuple(map(id, x)) if isinstance(x, tuple) else id(x))
    if key not in results:
        results[key] = x, compute(x)  # x is kept: the id of an object that is gone may come again
    return results[key][1]
