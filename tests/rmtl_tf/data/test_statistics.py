from __future__ import annotations

import math
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import statistics_pb2

from rmtl_tf.data.datasets.base import SESSION
from rmtl_tf.data.sessions import STEP
from rmtl_tf.data.statistics import SPLIT, Statistics, Tables, condense, merge, tabulate, write_feature_stats
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


def test_feature_stats_can_be_read_by_tfdv(tmp_path):
    path = tmp_path / "Split-train" / "FeatureStats.pb"
    write_feature_stats(_statistics(ROWS), "train", path)
    proto = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    (dataset,) = proto.datasets
    features = {feature.path.step[0]: feature for feature in dataset.features}
    assert (dataset.name, dataset.num_examples) == ("train", 3)
    assert set(features) == {"user", "item", "price", "past_records"}
    item, price = features["item"].string_stats, features["price"].num_stats
    assert (item.unique, item.common_stats.num_missing, item.common_stats.num_non_missing) == (2, 0, 3)
    assert [(value.value, value.frequency) for value in item.top_values] == [("a", 2.0), ("b", 1.0)]
    assert (price.common_stats.num_missing, price.common_stats.num_non_missing) == (1, 2)
    assert (price.mean, price.std_dev, price.min, price.max) == (2.0, 1.0, 1.0, 3.0)


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
