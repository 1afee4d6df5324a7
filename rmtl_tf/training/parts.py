"""A train split in parts: every part is packed from files of its own, and a batch has a piece of each.

The parts, not the processes, decide what stands in a batch: with `training.shards` parts, one process that
holds all of them and several that hold some train on the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rmtl_tf.errors import UserError
from rmtl_tf.inputs import SHUFFLED, RecordTable, plan_windows, read_table, split_files

if TYPE_CHECKING:
    from rmtl_tf.features.spec import InputSpec


def part_files(split: Path, parts: int) -> list[list[Path]]:
    """The files of every part: file i belongs to part i modulo `parts`.

    Raises:
        UserError: a part would have none.
    """
    files = split_files(split)
    if len(files) < parts:
        raise UserError(
            f"training.shards: {parts} parts need as many files, received {len(files)} in {split}. Lower it, "
            "or raise data.shards."
        )
    return [files[part::parts] for part in range(parts)]


def read_parts(
    split: Path,
    spec: InputSpec,
    labels: Sequence[str],
    timestamp: str,
    parts: int,
    own: Sequence[int],
    spill: Path | None = None,
) -> tuple[RecordTable, Parts]:
    """The table of the parts in `own`, one after another, and where they begin; reads their files alone.

    Args:
        spill: as of `read_table`.

    Raises:
        UserError: as `part_files`, `read_table`.
    """
    files = part_files(split, parts)
    table = read_table(split, spec, labels, timestamp, [path for part in own for path in files[part]], spill)
    counts = [_windows(files[part]) for part in own]
    return table, Parts.of(table, parts, own, counts)


def _windows(files: Sequence[Path]) -> int:
    """The windows in `files`: an Example each."""
    import tensorflow as tf

    dataset = tf.data.TFRecordDataset([str(path) for path in files])
    return int(dataset.reduce(np.int64(0), lambda count, _: count + 1).numpy())


@dataclass(frozen=True)
class Parts:
    """How many parts there are, and those of this process.

    Attributes:
        windows: of every part, own and others': first row of each window in its part, and its rows [W + 1].
        own: numbers of the parts in this process's table, in its order.
    """

    windows: tuple[np.ndarray, ...]
    own: tuple[int, ...]

    @classmethod
    def whole(cls, table: RecordTable) -> Parts:
        """One part, the whole table."""
        return cls((table.windows,), (0,))

    @classmethod
    def of(cls, table: RecordTable, parts: int, own: Sequence[int], counts: Sequence[int]) -> Parts:
        """Of a table whose first `counts[0]` windows are part `own[0]`, and so on; others are empty yet."""
        edges = np.concatenate([[0], np.cumsum(counts)])
        if edges[-1] != len(table.windows) - 1:
            raise ValueError(f"expected {len(table.windows) - 1} windows in all parts, received {edges[-1]}")
        windows = [np.zeros(1, np.int64)] * parts
        for number, part in enumerate(own):
            mine = table.windows[edges[number] : edges[number + 1] + 1]
            windows[part] = mine - mine[0]
        return cls(tuple(windows), tuple(own))

    def exchanged(self, gather: Callable[[np.ndarray], list[np.ndarray]]) -> Parts:
        """With the windows of the other processes' parts; `gather` of a `Cluster`.

        Raises:
            UserError: a part has no session.
        """
        windows = list(self.windows)
        for numbers, every in zip(gather(np.array(self.own)), gather(self._packed()), strict=True):
            for part, own in zip(numbers, np.split(every, np.flatnonzero(every == 0)[1:]), strict=True):
                windows[part] = own
        for part, own in enumerate(windows):
            if len(own) == 1:
                raise UserError(
                    f"training.shards: part {part} of {len(windows)} has no session in its files. Lower it."
                )
        return Parts(tuple(windows), self.own)

    def _packed(self) -> np.ndarray:
        """The windows of the own parts, one after another; each begins with 0, and 0 is nowhere else."""
        return np.concatenate([self.windows[part] for part in self.own]).astype(np.int64)

    def plan(
        self, batch_size: int, seed: int, epoch: int, shuffled: int = SHUFFLED
    ) -> tuple[np.ndarray, np.ndarray]:
        """The batches of an epoch as this process sees them, and how many rows each has in all processes.

        A part fills `batch_size / parts` columns; one that is used up before the others is padding.

        Args:
            shuffled: records of all parts that are shuffled with one another, as of `epoch_plan`.

        Returns:
            rows of this process's table [batches, batch_size * own / parts], -1 is padding; [batches].

        Raises:
            UserError: a window does not fit.
        """
        parts = len(self.windows)
        width = batch_size // parts
        # With one part the order is that of `epoch_plan`.
        plans = [
            plan_windows(
                windows, width, [seed, epoch] if parts == 1 else [seed, epoch, part], shuffled // parts
            )
            for part, windows in enumerate(self.windows)
        ]
        steps = max(len(plan) for plan in plans)
        rows = np.zeros(steps, np.int64)
        own = np.full((steps, len(self.own), width), -1, np.int64)
        starts = np.cumsum([0, *(self.windows[part][-1] for part in self.own)])
        for part, plan in enumerate(plans):
            rows[: len(plan)] += (plan >= 0).sum(axis=1)
            if part in self.own:
                place = self.own.index(part)
                own[: len(plan), place] = np.where(plan >= 0, plan + starts[place], -1)
        return own.reshape(steps, -1), rows
