"""Trying a call again where that can help, within one deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class ServingError(Exception):
    """A call that failed.

    Args:
        code: name of the gRPC status: `INVALID_ARGUMENT`, `UNAVAILABLE`, `DEADLINE_EXCEEDED`, ...
        message: what the server said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True)
class Retry:
    """Full-jitter exponential backoff: before retry i wait uniform(0, min(longest, first * 2 ** i)) seconds.

    Attributes:
        attempts: at most, the first included.
        first, longest: seconds.
        codes: that are tried again. Prediction has no effect, so a call that may have arrived is no danger;
            a wrong request stays wrong.
    """

    attempts: int = 4
    first: float = 0.02
    longest: float = 0.5
    codes: frozenset[str] = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"})

    def run(self, attempt: Callable[[float], T], timeout: float) -> T:
        """The result of `attempt(seconds left)`.

        Raises:
            ServingError: of the last attempt.
        """
        deadline = time.monotonic() + timeout
        for number in range(self.attempts):
            try:
                return attempt(max(deadline - time.monotonic(), 1e-3))
            except ServingError as error:
                wait = random.uniform(0, min(self.longest, self.first * 2**number))
                last = number == self.attempts - 1 or time.monotonic() + wait >= deadline
                if last or error.code not in self.codes:
                    raise
            time.sleep(wait)
        raise ValueError(f"`attempts` must be at least 1. Received: {self.attempts}")
