"""The features of records side by side: a matrix with a row for every record, four bytes a value.

A batch is one look-up of rows, whatever the number of inputs: with 40 of them 1.7 times as fast as a look-up
for each (`benchmarks/train/spilled.py`), and a session is one stretch of memory or of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from rmtl_tf.features.spec import InputSpec


@dataclass(frozen=True)
class Packing:
    """Where the values of an input stand in a row.

    Attributes:
        places: input -> first column and number of columns; None: it has one value and no axis for several.
        floats: the inputs whose four bytes are a float32; the others' are an int32.
    """

    places: Mapping[str, tuple[int, int | None]]
    floats: frozenset[str]

    @classmethod
    def of(cls, spec: InputSpec) -> Packing:
        several = dict(spec.several)
        widths = {name: several.get(name) for name, _ in spec.categorical}
        return cls._laid_out(widths | dict.fromkeys(spec.numeric), frozenset(spec.numeric))

    @classmethod
    def of_columns(cls, columns: Mapping[str, np.ndarray]) -> Packing:
        """Of [R] or [R, M] columns.

        Raises:
            ValueError: one is neither int32 nor float32.
        """
        for name, column in columns.items():
            if column.dtype not in (np.int32, np.float32):
                raise ValueError(f"{name}: expected int32 or float32, received {column.dtype}")
        widths = {name: None if column.ndim == 1 else column.shape[1] for name, column in columns.items()}
        return cls._laid_out(widths, frozenset(n for n, c in columns.items() if c.dtype == np.float32))

    @classmethod
    def _laid_out(cls, widths: Mapping[str, int | None], floats: frozenset[str]) -> Packing:
        places, first = {}, 0
        for name, several in widths.items():
            places[name] = (first, several)
            first += several or 1
        return cls(places, floats)

    @property
    def width(self) -> int:
        return sum(several or 1 for _, several in self.places.values())

    def pack(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """[R] or [R, M] columns, int32 or float32 -> [R, width] int32 of the same bits."""
        rows = len(next(iter(columns.values())))
        packed = np.empty((rows, self.width), np.int32)
        for name, (first, several) in self.places.items():
            packed[:, first : first + (several or 1)] = columns[name].view(np.int32).reshape(rows, -1)
        return packed

    def unpack(self, packed: tf.Tensor) -> dict[str, tf.Tensor]:
        """[..., width] int32 -> {input: [...] or [..., M]}, in a graph."""
        values = {}
        for name, (first, several) in self.places.items():
            part = packed[..., first] if several is None else packed[..., first : first + several]
            values[name] = tf.bitcast(part, tf.float32) if name in self.floats else part
        return values


class PackedFeatures(Mapping[str, np.ndarray]):
    """Input -> [R] or [R, M], views of the columns of a matrix.

    Args:
        packing: what a row holds.
        matrix: [R, width] int32, in memory or mapped from a file.
    """

    def __init__(self, packing: Packing, matrix: np.ndarray) -> None:
        self.packing, self.matrix = packing, matrix

    @classmethod
    def of(cls, columns: Mapping[str, np.ndarray]) -> PackedFeatures:
        """Of columns as `Packing.of_columns` takes them; what is packed stays what it is."""
        if isinstance(columns, PackedFeatures):
            return columns
        packing = Packing.of_columns(columns)
        return cls(packing, packing.pack(columns))

    def __getitem__(self, name: str) -> np.ndarray:
        first, several = self.packing.places[name]
        part = self.matrix[:, first] if several is None else self.matrix[:, first : first + several]
        return part.view(np.float32) if name in self.packing.floats else part

    def __iter__(self) -> Iterator[str]:
        return iter(self.packing.places)

    def __len__(self) -> int:
        return len(self.packing.places)

    @property
    def in_file(self) -> bool:
        return isinstance(self.matrix, np.memmap)
