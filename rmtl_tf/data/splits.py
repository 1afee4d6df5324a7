"""Train, validation and test, by the time at which a session starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from rmtl_tf.errors import UserError

SPLITS = ("train", "validation", "test")
_BUCKET = 1 << 14  # seconds


def split_dir(examples: Path, split: str) -> Path:
    """The directory of a split, named as TFX does."""
    return examples / f"Split-{split}"


def split_times(starts: np.ndarray, fractions: Sequence[float]) -> tuple[int, int]:
    """The two times that divide sessions as `fractions` (train, validation, test) say, as near as ties allow.

    Args:
        starts: start of every session, unix seconds, int64 [sessions], in any order.

    Returns:
        (t1, t2): a session is in train if it starts before t1, in test if it starts at t2 or later, else in
        validation. Sessions that start in the same second are in the same split.
    """
    table = tally(starts)
    return exact_times(table, in_buckets(starts, wanted_buckets(table, fractions)), fractions)


def tally(starts: np.ndarray) -> np.ndarray:
    """Sessions by bucket of `_BUCKET` seconds: int64 [buckets, 3] of bucket, sessions and earliest start.

    Tables of parts add up by `merge_tallies`. With the starts of `wanted_buckets` alone a table gives the
    split times exactly, so nothing has to hold the starts of all sessions.
    """
    buckets, first = np.unique(np.sort(starts) // _BUCKET, return_index=True)
    counts = np.diff([*first, starts.size])
    return np.stack([buckets, counts, np.sort(starts)[first]], axis=1).astype(np.int64).reshape(-1, 3)


def merge_tallies(tables: Sequence[np.ndarray]) -> np.ndarray:
    rows = np.concatenate([np.zeros((0, 3), np.int64), *tables])
    buckets, place = np.unique(rows[:, 0], return_inverse=True)
    counts, earliest = np.zeros_like(buckets), np.full_like(buckets, np.iinfo(np.int64).max)
    np.add.at(counts, place, rows[:, 1])
    np.minimum.at(earliest, place, rows[:, 2])
    return np.stack([buckets, counts, earliest], axis=1)


def wanted_buckets(table: np.ndarray, fractions: Sequence[float]) -> list[int]:
    """The buckets in which the split times may lie."""
    return sorted({int(table[_bucket_of(table, rank), 0]) for rank in _ranks(table, fractions)})


def in_buckets(starts: np.ndarray, buckets: Sequence[int]) -> np.ndarray:
    return starts[np.isin(starts // _BUCKET, buckets)]


def exact_times(table: np.ndarray, starts: np.ndarray, fractions: Sequence[float]) -> tuple[int, int]:
    """`split_times`, of the tally of all starts and the starts in `wanted_buckets`."""
    if not len(table):
        return 0, 0
    first, second = (_cut(table, np.sort(starts), rank) for rank in _ranks(table, fractions))
    return first, second


def _ranks(table: np.ndarray, fractions: Sequence[float]) -> list[int]:
    """How many sessions are to start before each of the two times."""
    sessions = int(table[:, 1].sum())
    ranks = np.floor(np.cumsum(fractions)[:2] * sessions + 0.5).astype(int)
    return [min(rank, sessions - 1) for rank in ranks.tolist()] if sessions else []


def _bucket_of(table: np.ndarray, rank: int) -> int:
    """The row of the bucket that holds the start of this rank, from 0."""
    return int(np.searchsorted(np.cumsum(table[:, 1]), rank, side="right"))


def _cut(table: np.ndarray, starts: np.ndarray, rank: int) -> int:
    """The start at which a split begins, so that about `rank` sessions start earlier."""
    row = _bucket_of(table, rank)
    before = int(table[:row, 1].sum())
    starts = in_buckets(starts, [int(table[row, 0])])
    time = starts[rank - before]
    below, upto = (before + int(np.searchsorted(starts, time, side)) for side in ("left", "right"))
    later = upto < int(table[:, 1].sum()) and upto - rank < rank - below
    if not later:
        return int(time)
    return int(starts[upto - before] if upto - before < starts.size else table[row + 1, 2])


def split_of(starts: np.ndarray, times: tuple[int, int]) -> np.ndarray:
    """The index in `SPLITS` of sessions by their start [sessions]."""
    return np.searchsorted(np.asarray(times), starts, side="right")


def check_splits(
    records: Mapping[str, int],
    positives: Mapping[str, Mapping[str, int]],
    times: tuple[int, int],
) -> None:
    """Refuses splits without records, and labels that are all 0 or all 1 in a split.

    Args:
        records: records of each split.
        positives: of each split, task -> records whose label is 1.

    Raises:
        UserError: names the split, the boundaries or counts, and what to change.
    """
    for split in SPLITS:
        if records[split] == 0:
            raise UserError(
                f"split {split} has no sessions: train ends before {_utc(times[0])}, test begins at "
                f"{_utc(times[1])}; records: {dict(records)}. Give logs of a longer time, or other parts: "
                "--set data.split=[0.6,0.2,0.2]."
            )
    for split in SPLITS:
        for task, ones in positives[split].items():
            if ones in (0, records[split]):
                raise UserError(
                    f"task {task}: every label in split {split} is {int(ones > 0)} ({ones:,} of "
                    f"{records[split]:,} records are 1). A task needs both: give more logs or other parts "
                    "(--set data.split=...), or remove the task from the schema."
                )


def _utc(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
