from __future__ import annotations

import math
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.data.datasets.base import SESSION
from rmtl_tf.data.sessions import STEP
from rmtl_tf.data.statistics import SPLIT, Statistics, Tables, condense, merge, tabulate
from rmtl_tf.schema import DataSchema, Feature, Task

SCHEMA = DataSchema(
    features=(
        Feature("user", "categorical", context=True, required=True),
        Feature("item", "categorical", required=True),
        Feature("time", "timestamp", required=True),
        Feature("price", "numeric"),
        Feature("clicked", "label", required=True),
    ),
    tasks=(Task("click"),),
    labels=("clicked",),
    user="user",
    item="item",
    timestamp="time",
)
FEEDBACK = ("past_records",)

# split, session, step, user, item, time, price, clicked
ROWS = [
    (0, "s1", 0, "u", "a", 10, 1.0, 1),
    (0, "s1", 1, "u", "b", 12, None, 0),
    (0, "s2", 0, "v", "a", 11, 3.0, 0),
    (1, "s3", 0, "u", "a", 20, None, 1),
    (2, "s4", 0, "w", None, 30, 8.0, 0),
    (2, "s4", 1, "w", "c", 31, 0.0, 1),
]


def _frame(rows: list[tuple]) -> pl.DataFrame:
    schema = {
        SPLIT: pl.Int64, SESSION: pl.String, STEP: pl.Int64, "user": pl.String,
        "item": pl.String, "time": pl.Int64, "price": pl.Float64, "clicked": pl.Int64,
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.col(STEP).cast(pl.Float32).alias("past_records"))


def _statistics(*partitions: list[tuple], windows: tuple[int, ...] = (2, 1, 1)) -> Statistics:
    tables = [tabulate(_frame(rows), windows, SCHEMA, FEEDBACK) for rows in partitions]
    return Statistics(merge(tables), SCHEMA, FEEDBACK)


def test_splits_are_described():
    assert _statistics(ROWS).splits() == {
        "train": {
            "records": 3,
            "sessions": 2,
            "windows": 2,
            "start": 10,
            "end": 12,
            "rates": {"click": 1 / 3},
        },
        "validation": {
            "records": 1,
            "sessions": 1,
            "windows": 1,
            "start": 20,
            "end": 20,
            "rates": {"click": 1.0},
        },
        "test": {"records": 2, "sessions": 1, "windows": 1, "start": 30, "end": 31, "rates": {"click": 0.5}},
    }


def test_an_empty_split_is_described_by_zeros():
    statistics = _statistics(ROWS[:4], windows=(2, 1, 0))
    assert statistics.records == {"train": 3, "validation": 1, "test": 0}
    assert statistics.positives["test"] == {"click": 0}
    assert statistics.splits()["test"] == {
        "records": 0, "sessions": 0, "windows": 0, "start": None, "end": None, "rates": {"click": 0.0},
    }  # fmt: skip


def test_windows_of_partitions_add_up():
    assert _statistics(ROWS[:3], ROWS[3:]).splits()["train"]["windows"] == 4


def test_a_categorical_feature_counts_missing_and_ranks_values_ties_by_value():
    item = _statistics(ROWS).features()["item"]
    assert item == {"kind": "categorical", "missing": 1, "unique": 3, "top": [["a", 3], ["b", 1], ["c", 1]]}


def test_only_the_ten_most_frequent_values_are_listed():
    rows = [(0, f"s{i}", 0, "u", f"i{i:02d}", 10, 1.0, i % 2) for i in range(20)]
    item = _statistics(rows).features()["item"]
    assert (item["unique"], len(item["top"]), item["top"][0]) == (20, 10, ["i00", 1])


def test_a_numeric_feature_has_its_moments():
    price = _statistics(ROWS).features()["price"]
    values = np.array([1.0, 3.0, 8.0, 0.0])
    assert (price["kind"], price["unique"]) == ("numeric", None)
    assert (price["missing"], price["min"], price["max"]) == (2, 0.0, 8.0)
    assert price["mean"] == pytest.approx(values.mean())
    assert price["std"] == pytest.approx(values.std())


def test_a_number_that_is_always_missing_has_no_moments():
    price = _statistics(ROWS).features("validation")["price"]
    assert price == {
        "kind": "numeric", "missing": 1, "unique": None, "mean": None, "std": None, "min": None, "max": None,
    }  # fmt: skip


def test_feedback_is_described_like_a_number():
    assert _statistics(ROWS).features()["past_records"]["mean"] == pytest.approx(2 / 6)


def test_the_histogram_of_session_lengths_counts_every_session_once():
    rows = [
        (0, f"s{n}", step, "u", "a", 10, 1.0, 0)
        for n, length in enumerate([1, 1, 2, 5, 12])
        for step in range(length)
    ]
    assert _statistics(rows).session_length() == {
        "edges": [1, 2, 3, 4, 6, 11, 13],
        "counts": [2, 1, 0, 1, 0, 1],
    }


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from("abc"), st.none() | st.floats(-1e6, 1e6), st.integers(0, 1)
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 4),
)
def test_partitions_add_up_to_the_whole(values, parts):
    rows = [
        (split, f"s{i}", 0, "u", item, i + 1, price, label)
        for i, (split, item, price, label) in enumerate(values)
    ]
    together, apart = _statistics(rows), _statistics(*(rows[part::parts] for part in range(parts)))
    assert apart.tables.counts.filter(pl.col("feature") != "#windows").equals(
        together.tables.counts.filter(pl.col("feature") != "#windows")
    )
    assert apart.tables.buckets.equals(together.tables.buckets)
    for name, feature in together.features().items():
        for key, value in feature.items():
            other = apart.features()[name][key]
            same = (
                math.isclose(other, value, rel_tol=1e-9, abs_tol=1e-6)
                if isinstance(value, float)
                else other == value
            )
            assert same, (name, key, other, value)


def test_merging_one_table_changes_no_number():
    tables = tabulate(_frame(ROWS), (2, 1, 1), SCHEMA, FEEDBACK)
    merged = merge([tables])
    assert merge([merged]).moments.equals(merged.moments)
    assert isinstance(merged, Tables)


def test_a_number_is_counted_in_buckets_of_one_grid_for_all_splits():
    statistics = _statistics(ROWS[:3], ROWS[3:])
    exponent, train, counts = statistics.histogram("price", "train")
    assert exponent == statistics.histogram("price", "test")[0] == -3  # 0 to 8 in at most 128 buckets
    assert (train * 2.0**exponent).tolist() == [1.0, 3.0]
    assert counts.tolist() == [1, 1]
    assert [part.tolist() for part in statistics.histogram("price", "validation")[1:]] == [[], []]


def test_values_are_counted_with_the_missing_ones():
    assert _statistics(ROWS).value_counts("item", "test").rows() == [("", 1), ("c", 1)]
    assert _statistics(ROWS).value_counts("clicked", "train").rows() == [("0", 2), ("1", 1)]


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["item", "#length"]), st.integers(0, 2), st.sampled_from(["", *"abcdef"])),
        st.integers(1, 9),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 3),
)
def test_condensing_keeps_what_is_frequent_in_a_split_or_overall_and_counts_the_rest(found, most):
    rows = [(*key, count) for key, count in found.items()]
    schema = {"feature": pl.String, SPLIT: pl.Int64, "value": pl.String, "count": pl.Int64}
    kept, rest = condense(pl.DataFrame(rows, schema=schema, orient="row"), most)
    scopes: dict[tuple[str, int], dict[str, int]] = {}
    for (feature, split, value), count in found.items():
        for scope in (split, -1):
            counts = scopes.setdefault((feature, scope), {})
            counts[value] = counts.get(value, 0) + count
    top = {(feature, value) for feature, _, value in found if value == "" or feature == "#length"}
    for (feature, _), counts in scopes.items():
        ranked = sorted(counts, key=lambda value, counts=counts: (-counts[value], value))
        top |= {(feature, value) for value in ranked[:most]}
    assert sorted(kept.rows()) == sorted(row for row in rows if (row[0], row[2]) in top)
    others = {
        scope: [count for value, count in counts.items() if (scope[0], value) not in top]
        for scope, counts in scopes.items()
    }
    assert sorted(rest.rows()) == sorted(
        (*scope, len(rare), sum(rare)) for scope, rare in others.items() if rare
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from("fg"), st.integers(0, 2), st.sampled_from(["", *"abcdefgh"]), st.integers(1, 9)
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_condensed_parts_keep_the_frequent_values_and_count_the_others(rows, most, parts):
    """Against dictionaries: the frequent values of each split and of all, missing ones, number of others."""
    schema = {"feature": pl.String, SPLIT: pl.Int64, "value": pl.String, "count": pl.Int64}
    counts = pl.DataFrame(rows, schema=schema, orient="row")
    exact: dict[tuple[str, int], Counter[str]] = {}
    for feature, split, value, count in rows:
        for number in (split, -1):
            exact.setdefault((feature, number), Counter())[value] += count
    place = pl.col("value").hash() % parts
    shares = [counts.filter(place == part) for part in range(parts)]
    condensed = [condense(share, most) for share in shares if share.height]
    kept, rest = (pl.concat(frames) for frames in zip(*condensed, strict=True))
    for (feature, split), values in exact.items():
        order = sorted(values, key=lambda value: (-values[value], value))
        mine = kept.filter(pl.col("feature") == feature)
        if split >= 0:
            mine = mine.filter(pl.col(SPLIT) == split)
        found = dict(mine.group_by("value").agg(pl.sum("count")).select("value", "count").iter_rows())
        assert {value: values[value] for value in order[:most]}.items() <= found.items()
        assert found.items() <= values.items()
        assert ("" in values) == ("" in found)
        others = rest.filter((pl.col("feature") == feature) & (pl.col(SPLIT) == split))["distinct"].sum()
        assert len(found) + others == len(values)
