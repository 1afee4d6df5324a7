from __future__ import annotations

import math
import pickle
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.config import TransformConfig
from rmtl_tf.data.analyzers import Analysis, Counts, Moments, fit, frequent, plan
from rmtl_tf.features.graph import Categorical, Numeric, Rate, TimePart
from rmtl_tf.schema import DataSchema, Feature, Task

SCHEMA = DataSchema(
    features=(
        Feature("ts", "timestamp"),
        Feature("user", "categorical", context=True),
        Feature("price", "numeric", log=True),
        Feature("item", "categorical"),
        Feature("age", "numeric"),
        Feature("click_label", "label"),
        Feature("buy_label", "label"),
    ),
    tasks=(Task("click"), Task("buy", "click")),
    labels=("click_label", "buy_label"),
    user="user",
    item="item",
    timestamp="ts",
)
FEEDBACK = ("past_records", "past_click_known", "past_click_positive")
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def moments_of(values) -> Moments:
    moments = Moments()
    moments.add(np.array(values, np.float32))
    return moments


def columns(rows: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    known = rng.integers(0, 6, rows).astype(np.float32)
    price = rng.lognormal(3, 1, rows).astype(np.float32)
    price[rng.random(rows) < 0.1] = np.nan
    return {
        "user": pa.array([b"u%d" % v for v in rng.zipf(1.5, rows) % 50], pa.large_binary()),
        "item": pa.array([b"i%d" % v for v in rng.zipf(1.5, rows) % 90], pa.large_binary()),
        "price": price,
        "age": rng.normal(-5, 3, rows).astype(np.float32),
        "click_label": (rng.random(rows) < 0.3).astype(np.int64),
        "buy_label": (rng.random(rows) < 0.05).astype(np.int64),
        "past_records": known,
        "past_click_known": known,
        "past_click_positive": np.floor(known * rng.random(rows)).astype(np.float32),
    }


def part(values: dict, rows: slice) -> dict:
    return {name: column[rows] for name, column in values.items()}


def analysis_of(*parts: dict, feedback=FEEDBACK) -> Analysis:
    analysis = Analysis(plan(SCHEMA, feedback))
    for values in parts:
        analysis.add(values)
    return analysis


@settings(deadline=None)
@given(st.lists(FINITE, min_size=1))
def test_moments_are_the_exact_sums_of_fractions(values):
    numbers = [Fraction(v) for v in values]
    mean = sum(numbers) / len(numbers)
    spread = sum((v - mean) ** 2 for v in numbers) / len(numbers)
    moments = moments_of(values)
    assert moments.count == len(values)
    assert moments.mean == float(mean)
    assert moments.std == math.sqrt(spread)


@settings(deadline=None)
@given(st.lists(FINITE), st.lists(FINITE), st.lists(FINITE))
def test_moments_do_not_depend_on_partitioning_or_order(a, b, c):
    parts = [moments_of(c), moments_of(a), moments_of(b)]
    merged = Moments()
    for moments in parts:
        merged.merge(moments)
    assert merged == moments_of(a + b + c)


def test_moments_ignore_missing_numbers():
    assert moments_of([1, np.nan, 3, np.inf, -np.inf]) == moments_of([1, 3])


@pytest.mark.parametrize("value", [0.1, 3.4e38, 1e-45, -7.0])
def test_equal_numbers_have_no_spread_at_all(value):
    moments = moments_of([value] * 1000)
    assert moments.std == 0
    assert moments.mean == float(np.float32(value))


def test_no_numbers_have_mean_and_std_zero():
    assert (Moments().mean, Moments().std) == (0, 0)


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(max_size=2), min_size=1), max_size=5))
def test_counts_are_ordered_by_falling_frequency_then_value(batches):
    counts = Counts(["value"])
    for batch in batches:
        counts.add([pa.array(batch, pa.large_binary())])
    expected = sorted(Counter(v for b in batches for v in b).items(), key=lambda pair: (-pair[1], pair[0]))
    table = counts.table()
    assert list(zip(table["value"].to_pylist(), table["count"].to_pylist(), strict=True)) == expected


def test_counts_of_combinations_stay_exact_over_many_batches():
    counts, other = Counts(["a", "b"]), Counts(["a", "b"])
    for step in range(200):
        (counts if step % 3 else other).add([np.array([1.0, 2.0]), np.array([0.0, step % 2])])
    counts.merge(other)
    assert counts.table().to_pylist() == [
        {"a": 1.0, "b": 0.0, "count": 200},
        {"a": 2.0, "b": 0.0, "count": 100},
        {"a": 2.0, "b": 1.0, "count": 100},
    ]


def test_features_stand_in_schema_order_then_feedback_then_time():
    graph = fit(analysis_of(columns(100)), SCHEMA, TransformConfig())
    assert [(type(f), f.name) for f in graph.features] == [
        (Categorical, "user"),
        (Numeric, "price"),
        (Categorical, "item"),
        (Numeric, "age"),
        (Numeric, "past_records"),
        (Rate, "past_click_rate"),
        (TimePart, "hour"),
        (TimePart, "weekday"),
    ]
    assert (graph.tasks, graph.labels, graph.timestamp) == (SCHEMA.tasks, SCHEMA.labels, "ts")
    assert graph.input_spec().ids == ("user", "item")


def test_without_feedback_and_time_only_schema_inputs_remain():
    analysis = analysis_of(columns(100), feedback=())
    graph = fit(analysis, SCHEMA, TransformConfig(time=()))
    assert [f.name for f in graph.features] == ["user", "price", "item", "age"]


def test_numbers_are_fitted_after_the_logarithm_where_the_schema_says_so():
    values = columns(500)
    features = {f.name: f for f in fit(analysis_of(values), SCHEMA, TransformConfig()).features}
    for name, log in (("price", True), ("age", False), ("past_records", True)):
        x = values[name][~np.isnan(values[name])].astype(np.float64)
        x = np.log1p(x) if log else x
        assert features[name].log is log
        assert features[name].mean == pytest.approx(x.mean(), rel=1e-6)
        assert features[name].std == pytest.approx(x.std(), rel=1e-6)
    assert (features["past_records"].missing, features["price"].missing) == (0.0, None)


def test_rate_prior_is_the_label_rate_and_its_moments_those_of_the_rows():
    values = columns(800)
    rate = fit(analysis_of(values), SCHEMA, TransformConfig(rate_prior_strength=3.0)).features[5]
    prior = values["click_label"].mean()
    rows = (values["past_click_positive"] + prior * 3.0) / (values["past_click_known"].astype(float) + 3.0)
    assert (rate.prior, rate.strength) == (pytest.approx(prior), 3.0)
    assert rate.mean == pytest.approx(rows.mean(), rel=1e-9)
    assert rate.std == pytest.approx(rows.std(), rel=1e-9)


def test_constant_and_absent_numbers_get_std_one():
    values = columns(50)
    values["age"] = np.full(50, 0.1, np.float32)
    values["price"] = np.full(50, np.nan, np.float32)
    values["past_click_known"] = values["past_click_positive"] = np.zeros(50, np.float32)
    features = {f.name: f for f in fit(analysis_of(values), SCHEMA, TransformConfig()).features}
    assert (features["age"].mean, features["age"].std) == (float(np.float32(0.1)), 1.0)
    assert (features["price"].mean, features["price"].std) == (0.0, 1.0)
    assert features["past_click_rate"].std == 1.0
    assert features["past_click_rate"].mean == pytest.approx(features["past_click_rate"].prior)


def vocabulary(values: list[bytes], **config) -> tuple[str, ...]:
    rows = columns(len(values)) | {"item": pa.array(values, pa.large_binary())}
    return fit(analysis_of(rows), SCHEMA, TransformConfig(**config)).features[2].vocabulary


def test_vocabulary_falls_in_frequency_breaks_ties_by_value_and_leaves_missing_out():
    values = [b""] * 9 + [b"b", b"c", b"a"] * 2 + ["ü".encode()] * 3 + [b"once"]
    assert vocabulary(values) == ("ü", "a", "b", "c")


def test_min_count_and_top_k_bound_the_vocabulary():
    values = [b"a"] * 4 + [b"b"] * 3 + [b"c"] * 2 + [b"d"]
    assert vocabulary(values, min_count=1) == ("a", "b", "c", "d")
    assert vocabulary(values, min_count=3) == ("a", "b")
    assert vocabulary([b""] * 20 + values, min_count=1, top_k=2) == ("a", "b")


def test_graph_is_equal_however_the_records_are_cut_merged_or_shipped():
    values = columns(600)
    whole = fit(analysis_of(values), SCHEMA, TransformConfig())
    for cuts in ([100, 350], [1, 599], [300, 300]):
        edges = [0, *cuts, 600]
        parts = [part(values, slice(*pair)) for pair in pairwise(edges)]
        merged = analysis_of()
        for piece in reversed(parts):
            merged.merge(pickle.loads(pickle.dumps(analysis_of(piece))))
        assert fit(merged, SCHEMA, TransformConfig()) == whole


def test_nothing_to_analyse_gives_empty_vocabularies_and_neutral_numbers():
    graph = fit(analysis_of(), SCHEMA, TransformConfig())
    assert graph.features[0] == Categorical("user", (), is_id=True)
    assert graph.features[1] == Numeric("price", 0.0, 1.0, log=True)


@pytest.mark.parametrize("config", [TransformConfig(min_count=3), TransformConfig(min_count=1, top_k=7)])
def test_values_counted_in_parts_give_the_vocabulary_of_the_whole(config):
    """Counts leave the analysis of each shard, meet by value, and only frequent ones come back."""
    shards = [columns(400, seed) for seed in range(3)]
    whole = fit(analysis_of(*shards), SCHEMA, config)
    analyses = [analysis_of(shard) for shard in shards]
    counts = pl.concat(analysis.take_values() for analysis in analyses)
    assert sum(counts.filter(pl.col("feature") == "user")["count"]) == 1200
    merged = Analysis(plan(SCHEMA, FEEDBACK))
    for analysis in analyses:
        merged.merge(analysis)
    assert merged.values["user"].table().num_rows == 0
    odd = pl.col("value").bin.size() % 2 == 1
    for one in (counts.filter(odd), counts.filter(~odd)):
        merged.add_values(frequent(one, config))
    assert fit(merged, SCHEMA, config) == whole


def test_rare_values_missing_ones_and_those_beyond_the_top_do_not_go_on():
    values = pl.DataFrame(
        {
            "feature": ["f"] * 5 + ["g"] * 2,
            "value": [b"a", b"b", b"a", b"", b"c", b"a", b"z"],
            "count": [1, 5, 2, 9, 3, 1, 4],
        }
    )
    kept = frequent(values, TransformConfig(min_count=3)).sort("feature", "value")
    assert kept.rows() == [("f", b"a", 3), ("f", b"b", 5), ("f", b"c", 3), ("g", b"z", 4)]
    kept = frequent(values, TransformConfig(min_count=1, top_k=2)).sort("feature", "value")
    assert kept.rows() == [("f", b"a", 3), ("f", b"b", 5), ("g", b"a", 1), ("g", b"z", 4)]
