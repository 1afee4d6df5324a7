"""What a request may end with beside an answer."""

from __future__ import annotations


class RequestError(Exception):
    """A request that gets an error instead of an answer.

    Args:
        code: name of the gRPC status, `INVALID_ARGUMENT`, `NOT_FOUND`, `UNAVAILABLE` or `UNIMPLEMENTED`.
        message: what was expected and what was received.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
