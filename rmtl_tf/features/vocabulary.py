"""The values of a categorical feature, as many as there may be: no Python object for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rmtl_tf.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 1 << 14
_LINE_FEED, _RETURN = b"\n\r"


def encode_value(value: str) -> bytes:
    """A vocabulary value as it stands in Examples, requests and the vocabulary file."""
    return value.encode("utf-8", "surrogateescape")


def decode_value(value: bytes) -> str:
    """Inverse of `encode_value`."""
    return value.decode("utf-8", "surrogateescape")


class Vocabulary(Sequence[str]):
    """Distinct values in the order of their ids, like a tuple of strings.

    Two million strings take 250 MB, and as much again wherever they are encoded; here they take their bytes
    and 8 more each.

    Attributes:
        values: large_binary [V], the values as they stand in Examples.
    """

    def __init__(self, values: Iterable[str] | pa.LargeBinaryArray) -> None:
        import pyarrow as pa

        if not isinstance(values, pa.Array):
            values = pa.array(map(encode_value, values), pa.large_binary())
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: Any) -> Any:
        found = self.values[place]
        return Vocabulary(found) if isinstance(place, slice) else decode_value(found.as_py())

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _CHUNK):
            yield from map(decode_value, self.values[first : first + _CHUNK].to_pylist())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Vocabulary):
            return bool(self.values.equals(other.values))
        return isinstance(other, tuple | list) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Vocabulary({list(self[:3])}{', ...' if len(self) > 3 else ''})"

    def to_lines(self, feature: str) -> bytes:
        """The vocabulary file: a line for each value.

        Raises:
            UserError: a value is empty or holds a line break, which a file of lines cannot carry.
        """
        import numpy as np

        from rmtl_tf.compiled import binary_buffers

        data, bounds = binary_buffers(self.values)
        data = data[bounds[0] : bounds[-1]]
        # TensorFlow's line reader ends a line at \n and drops every \r.
        if (np.diff(bounds) == 0).any() or np.isin(data, (_LINE_FEED, _RETURN)).any():
            wrong = next(value for value in self if not value or "\n" in value or "\r" in value)
            raise UserError(
                f"feature {feature!r}: expected values without line breaks, received {wrong!r}. "
                "Clean the raw data."
            )
        breaks = np.zeros(data.size + len(self), bool)
        breaks[bounds[1:] - bounds[0] + np.arange(len(self))] = True
        lines = np.full(breaks.size, _LINE_FEED, np.uint8)
        lines[~breaks] = data
        return lines.tobytes()

    @classmethod
    def from_lines(cls, lines: bytes) -> Vocabulary:
        """Inverse of `to_lines`; what stands behind the last line feed is left out."""
        import numpy as np
        import pyarrow as pa

        # Only \n ends a line: str.splitlines would also cut at characters such as U+2028.
        data = np.frombuffer(lines, np.uint8)
        breaks = np.flatnonzero(data == _LINE_FEED)
        bounds = np.concatenate([[0], breaks - np.arange(breaks.size)])
        buffers = [None, pa.py_buffer(bounds), pa.py_buffer(data[data != _LINE_FEED])]
        return cls(pa.LargeBinaryArray.from_buffers(pa.large_binary(), breaks.size, buffers))
