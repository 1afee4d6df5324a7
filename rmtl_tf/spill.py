"""Features of records that do not fit into memory: a file of packed rows, read in blocks.

A row of the file is all features of a record side by side, four bytes a value, so that a session is one
stretch of the file. Blocks are read whole and in the order that a plan first needs them; a plan that stays
among a few blocks at a time (`rmtl_tf.inputs.plan_windows`) reads the file once, from one end of a block to
the other.
"""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import tensorflow as tf

from rmtl_tf.features.spec import InputSpec

GROUP = 16  # blocks that are shuffled with one another
_HELD = 2 * GROUP + 2  # a batch may take from the end of one group and the beginning of the next


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
        places: dict[str, tuple[int, int | None]] = {}
        first = 0
        for name in (*(name for name, _ in spec.categorical), *spec.numeric):
            places[name] = (first, several.get(name))
            first += several.get(name, 1)
        return cls(places, frozenset(spec.numeric))

    @property
    def width(self) -> int:
        return sum(several or 1 for _, several in self.places.values())


@dataclass(frozen=True)
class SpilledFeatures:
    """The features of R records in a file.

    Attributes:
        packing: what a row holds.
        matrix: [R, width] int32, mapped from the file; floats are the same bits.
    """

    packing: Packing
    matrix: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Input -> [R] or [R, M], views of the file."""
        views = {}
        for name, (first, several) in self.packing.places.items():
            part = self.matrix[:, first] if several is None else self.matrix[:, first : first + several]
            views[name] = part.view(np.float32) if name in self.packing.floats else part
        return views


class SpillWriter:
    """Writes the features of records, some thousand at a time.

    The file has no name: it is gone with the process, also where that is killed.

    Args:
        folder: on the disk that has room for it.
        spec: the inputs.
    """

    def __init__(self, folder: Path, spec: InputSpec) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._packing = Packing.of(spec)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._rows = 0

    def append(self, features: Mapping[str, np.ndarray]) -> None:
        """Input -> [N] or [N, M], int32 or float32."""
        rows = len(next(iter(features.values())))
        packed = np.empty((rows, self._packing.width), np.int32)
        for name, (first, several) in self._packing.places.items():
            packed[:, first : first + (several or 1)] = features[name].view(np.int32).reshape(rows, -1)
        self._file.write(packed.tobytes())
        self._rows += rows

    def finish(self) -> SpilledFeatures:
        self._file.flush()
        shape = (self._rows, self._packing.width)
        return SpilledFeatures(self._packing, np.memmap(self._file, np.int32, "r", shape=shape))


def block_edges(windows: np.ndarray, shuffled: int) -> np.ndarray:
    """First row of every block, and the number of rows; a block ends where a window does.

    Args:
        windows: [W + 1] first row of every window, and the number of rows.
        shuffled: records of `GROUP` blocks.
    """
    wanted = np.arange(0, windows[-1], max(shuffled // GROUP, 1))
    return np.unique(np.append(windows[np.searchsorted(windows, wanted)], windows[-1]))


class BlockReader:
    """Rows of spilled features by their numbers; the blocks used last are held in memory.

    Args:
        features: the file.
        edges: of its blocks, as `block_edges` gives them.
        blocks: number of blocks that are held at most.
    """

    def __init__(self, features: SpilledFeatures, edges: np.ndarray, blocks: int = _HELD) -> None:
        self._features, self._edges = features, edges
        self._slots = min(blocks, len(edges) - 1)
        longest = int(np.diff(edges).max())
        self._held = np.empty((self._slots, longest, features.packing.width), np.int32)
        self._slot_of: OrderedDict[int, int] = OrderedDict()  # block -> slot, the one used last at the end
        self._lock = threading.Lock()
        self.loads = 0  # blocks read so far

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """[...] int64 row numbers -> [..., width] int32."""
        block = np.searchsorted(self._edges, rows, side="right") - 1
        needed, place = np.unique(block, return_inverse=True)
        if len(needed) > self._slots:  # between two groups of blocks, or a plan without groups
            return self._features.matrix[rows]
        with self._lock:
            for number in self._slot_of.keys() & set(needed.tolist()):
                self._slot_of.move_to_end(number)  # so that none of these makes room for another
            slots = np.array([self._load(number) for number in needed.tolist()])
            offsets = rows - self._edges[block]
            return self._held[slots[place].reshape(rows.shape), offsets]

    def _load(self, block: int) -> int:
        """The slot that holds the block, in place of the one that was not used for longest."""
        if block not in self._slot_of:
            free = len(self._slot_of)
            slot = free if free < self._slots else self._slot_of.popitem(last=False)[1]
            first, last = self._edges[block], self._edges[block + 1]
            self._held[slot, : last - first] = self._features.matrix[first:last]
            self._slot_of[block] = slot
            self.loads += 1
        return self._slot_of[block]

    def gather(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """In a graph: row numbers of any shape -> {input: its values there}."""
        packed = tf.numpy_function(self.rows, [rows], tf.int32, stateful=False)
        packed.set_shape([*rows.shape, self._features.packing.width])
        values = {}
        for name, (first, several) in self._features.packing.places.items():
            part = packed[..., first] if several is None else packed[..., first : first + several]
            values[name] = tf.bitcast(part, tf.float32) if name in self._features.packing.floats else part
        return values
