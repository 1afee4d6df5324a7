from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.data.splits import (
    SPLITS,
    check_splits,
    exact_times,
    in_buckets,
    merge_tallies,
    split_dir,
    split_of,
    split_times,
    tally,
    wanted_buckets,
)
from rmtl_tf.errors import UserError

FRACTIONS = (0.6, 0.2, 0.2)


def _sizes(starts: list[int], fractions=FRACTIONS) -> list[int]:
    array = np.array(starts, np.int64)
    return np.bincount(split_of(array, split_times(array, fractions)), minlength=3).tolist()


def test_sessions_are_divided_exactly_by_the_time_they_start():
    starts = list(range(100, 200))
    assert split_times(np.array(starts), FRACTIONS) == (160, 180)
    assert _sizes(starts) == [60, 20, 20]


def test_the_order_of_sessions_does_not_matter():
    starts = np.arange(50)
    assert split_times(np.random.default_rng(0).permutation(starts), FRACTIONS) == split_times(
        starts, FRACTIONS
    )


def test_sessions_that_start_together_stay_together():
    assert _sizes([1, 1, 1, 1, 1, 9, 9, 9, 9, 10]) == [5, 4, 1]
    assert _sizes([1, 1, 9, 9, 9, 9, 9, 9, 9, 10], (0.3, 0.3, 0.4)) == [2, 7, 1]
    assert _sizes([7] * 10) == [0, 0, 10]


def _nearest_cut(starts: list[int], rank: int) -> int:
    """Of all starts, that with the number of earlier ones nearest to `rank`; the earlier of two."""
    ordered = sorted(set(starts))
    return min(ordered, key=lambda time: (abs(sum(start < time for start in starts) - rank), time))


@given(st.lists(st.integers(0, 60_000) | st.sampled_from([16_383, 16_384, 40_000]), min_size=1, max_size=40))
def test_split_times_are_the_nearest_that_ties_allow(starts):
    """An oracle without buckets, on starts in several of them."""
    times = split_times(np.array(starts, np.int64), FRACTIONS)
    for time, share in zip(times, (0.6, 0.8), strict=True):
        rank = min(math.floor(share * len(starts) + 0.5), len(starts) - 1)
        at = sum(start < time for start in starts)
        best = sum(start < _nearest_cut(starts, rank) for start in starts)
        assert time in starts
        assert abs(at - rank) == abs(best - rank)


@given(st.lists(st.lists(st.integers(-(10**6), 10**6), max_size=30), min_size=1, max_size=4))
def test_the_tallies_of_parts_and_the_starts_near_give_the_times_of_the_whole(parts):
    arrays = [np.array(part, np.int64) for part in parts]
    whole = np.concatenate(arrays)
    table = merge_tallies([tally(array) for array in arrays])
    np.testing.assert_array_equal(table, tally(whole))
    assert table[:, 1].sum() == whole.size
    near = np.concatenate([in_buckets(array, wanted_buckets(table, FRACTIONS)) for array in arrays])
    assert exact_times(table, near[::-1], FRACTIONS) == split_times(whole, FRACTIONS)


def test_only_starts_in_the_buckets_of_the_two_times_are_wanted():
    starts = np.arange(0, 10**6, 100)
    table = tally(starts)
    assert wanted_buckets(table, FRACTIONS) == [600_000 // 16_384, 800_000 // 16_384]
    assert in_buckets(starts, wanted_buckets(table, FRACTIONS)).size < 400


def test_a_boundary_belongs_to_the_later_split():
    assert split_of(np.array([9, 10, 19, 20, 21]), (10, 20)).tolist() == [0, 1, 1, 2, 2]


def test_without_sessions_there_are_still_times():
    assert split_times(np.array([], np.int64), FRACTIONS) == (0, 0)


@given(st.lists(st.integers(1, 10**9), min_size=5, max_size=300, unique=True))
def test_distinct_starts_are_divided_to_half_a_session(starts):
    for size, fraction in zip(_sizes(starts), FRACTIONS, strict=True):
        assert abs(size - fraction * len(starts)) <= 1


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.sampled_from([FRACTIONS, (0.1, 0.1, 0.8)]))
def test_no_train_session_starts_after_a_test_session(starts, fractions):
    array = np.array(starts)
    split = split_of(array, split_times(array, fractions))
    order = np.argsort(array, kind="stable")
    assert np.all(np.diff(split[order]) >= 0)


def test_directories_are_named_as_tfx_names_them():
    assert [split_dir(Path("e"), split).name for split in SPLITS] == [
        "Split-train",
        "Split-validation",
        "Split-test",
    ]


RECORDS = {"train": 10, "validation": 4, "test": 4}
POSITIVES = {split: {"click": 2, "buy": 1} for split in SPLITS}


def test_whole_splits_pass():
    check_splits(RECORDS, POSITIVES, (10, 20))


def test_an_empty_split_is_named_with_the_boundaries():
    with pytest.raises(UserError) as caught:
        check_splits(RECORDS | {"validation": 0}, POSITIVES, (1_465_413_032, 1_465_413_033))
    text = str(caught.value)
    assert text.startswith("split validation has no sessions: train ends before 2016-06-08 19:10:32 UTC, ")
    assert (
        "test begins at 2016-06-08 19:10:33 UTC; records: {'train': 10, 'validation': 0, 'test': 4}." in text
    )
    assert text.endswith("or other parts: --set data.split=[0.6,0.2,0.2].")


@pytest.mark.parametrize(("split", "ones", "value"), [("train", 0, 0), ("test", 4, 1)])
def test_a_task_with_one_class_is_named_with_split_and_counts(split, ones, value):
    positives = POSITIVES | {split: {"click": 2, "buy": ones}}
    message = (
        rf"task buy: every label in split {split} is {value} \({ones} of {RECORDS[split]} records are 1\)"
    )
    with pytest.raises(UserError, match=message):
        check_splits(RECORDS, positives, (10, 20))
