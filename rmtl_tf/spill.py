"""Packed features that do not fit into memory: a file of rows, read in blocks.

Blocks are read whole, in the order in which a plan first needs them; a plan that stays among a few blocks at
a time (`rmtl_tf.inputs.plan_windows`) reads the file once an epoch.
"""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import IO

import numpy as np

from rmtl_tf.packed import PackedFeatures, Packing

GROUP = 16  # blocks that are shuffled with one another
_HELD = 2 * GROUP + 2  # a batch may take from the end of one group and the beginning of the next


class SpillWriter:
    """Writes packed rows, some thousand at a time.

    The file has no name: it is gone with the process, also where that is killed.

    Args:
        folder: on the disk that has room for it.
        packing: what a row holds.
    """

    def __init__(self, folder: Path, packing: Packing) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._packing = packing
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._rows = 0

    def append(self, packed: np.ndarray) -> None:
        """[N, width] int32."""
        self._file.write(packed.tobytes())
        self._rows += len(packed)

    def finish(self) -> PackedFeatures:
        self._file.flush()
        shape = (self._rows, self._packing.width)
        return PackedFeatures(self._packing, np.memmap(self._file, np.int32, "r", shape=shape))


def block_edges(windows: np.ndarray, shuffled: int) -> np.ndarray:
    """First row of every block, and the number of rows; a block ends where a window does.

    Args:
        windows: [W + 1] first row of every window, and the number of rows.
        shuffled: records of `GROUP` blocks.
    """
    wanted = np.arange(0, windows[-1], max(shuffled // GROUP, 1))
    return np.unique(np.append(windows[np.searchsorted(windows, wanted)], windows[-1]))


class BlockReader:
    """Rows of a file by their numbers; the blocks used last are held in memory.

    Args:
        matrix: [R, width] int32, mapped from the file.
        edges: of its blocks, as `block_edges` gives them.
        blocks: number of blocks that are held at most.
    """

    def __init__(self, matrix: np.ndarray, edges: np.ndarray, blocks: int = _HELD) -> None:
        self._matrix, self._edges = matrix, edges
        self._slots = min(blocks, len(edges) - 1)
        longest = int(np.diff(edges).max())
        self._held = np.empty((self._slots, longest, matrix.shape[1]), np.int32)
        self._slot_of: OrderedDict[int, int] = OrderedDict()  # block -> slot, the one used last at the end
        self._lock = threading.Lock()
        self.loads = 0  # blocks read so far

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[...] int64 row numbers -> [..., width] int32."""
        block = np.searchsorted(self._edges, rows, side="right") - 1
        needed, place = np.unique(block, return_inverse=True)
        if len(needed) > self._slots:  # between two groups of blocks, or a plan without groups
            return self._matrix[rows]
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
            self._held[slot, : last - first] = self._matrix[first:last]
            self._slot_of[block] = slot
            self.loads += 1
        return self._slot_of[block]
