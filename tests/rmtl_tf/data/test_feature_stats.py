from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from rmtl_tf.data.datasets.base import SESSION
from rmtl_tf.data.feature_stats import RANKS, write_feature_stats
from rmtl_tf.data.sessions import STEP
from rmtl_tf.data.statistics import SPLIT, Statistics, tabulate
from rmtl_tf.schema import DataSchema, Feature, Task

SCHEMA = DataSchema(
    features=(
        Feature("user", "categorical", context=True, required=True),
        Feature("item", "categorical", required=True),
        Feature("time", "timestamp", required=True),
        Feature("price", "numeric", log=True),
        Feature("clicked", "label", required=True),
    ),
    tasks=(Task("click"),),
    labels=("clicked",),
    user="user",
    item="item",
    timestamp="time",
)


def _features(tmp_path, items, prices, clicks) -> tuple[statistics_pb2.DatasetFeatureStatistics, dict]:
    size = len(items)
    records = pl.DataFrame(
        {
            SPLIT: pl.Series([0] * size, dtype=pl.Int64),
            SESSION: [f"s{i}" for i in range(size)],
            STEP: [0] * size,
            "user": ["u"] * size,
            "item": items,
            "time": list(range(10, 10 + size)),
            "price": pl.Series(prices, dtype=pl.Float64),
            "clicked": clicks,
            "past_records": [0.0] * size,
        }
    )
    statistics = Statistics(
        tabulate(records, (size, 0, 0), SCHEMA, ("past_records",)), SCHEMA, ("past_records",)
    )
    path = tmp_path / "Split-train" / "FeatureStats.pb"
    write_feature_stats(statistics, "train", path)
    (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes()).datasets
    return dataset, {feature.path.step[0]: feature for feature in dataset.features}


def test_feature_stats_can_be_read_by_tfdv(tmp_path):
    dataset, features = _features(tmp_path, ["a", "b", "a", None], [1.0, None, 3.0, None], [1, 0, 0, 1])
    assert (dataset.name, dataset.num_examples) == ("train", 4)
    assert set(features) == {"user", "item", "price", "past_records", "clicked"}
    item, price = features["item"].string_stats, features["price"].num_stats
    assert (item.unique, item.common_stats.num_missing, item.common_stats.num_non_missing) == (2, 1, 3)
    assert [(value.value, value.frequency) for value in item.top_values] == [("a", 2.0), ("b", 1.0)]
    assert [(b.label, b.sample_count) for b in item.rank_histogram.buckets] == [("a", 2.0), ("b", 1.0)]
    assert (price.common_stats.num_missing, price.common_stats.num_non_missing) == (2, 2)
    assert (price.mean, price.std_dev, price.min, price.max) == (2.0, 1.0, 1.0, 3.0)
    label = features["clicked"].num_stats
    assert (label.mean, label.std_dev, label.num_zeros, label.min, label.max) == (0.5, 0.5, 2, 0.0, 1.0)
    assert [(b.low_value, b.sample_count) for b in label.histograms[0].buckets] == [(0.0, 2.0), (1.0, 2.0)]


def test_the_histogram_counts_what_numpy_counts(tmp_path):
    prices = np.random.default_rng(0).lognormal(2.0, 1.0, 3000)
    _, features = _features(tmp_path, ["a"] * 3000, prices, [0] * 3000)
    standard, shares = features["price"].num_stats.histograms
    lows = np.array([bucket.low_value for bucket in standard.buckets])
    highs = np.array([bucket.high_value for bucket in standard.buckets])
    expected = [((low <= prices) & (prices < high)).sum() for low, high in zip(lows, highs, strict=True)]
    assert [bucket.sample_count for bucket in standard.buckets] == expected
    assert sum(expected) == 3000
    deciles = [shares.buckets[0].low_value, *(bucket.high_value for bucket in shares.buckets)]
    np.testing.assert_allclose(deciles, np.quantile(prices, np.linspace(0, 1, 11)), rtol=0.08)
    assert features["price"].num_stats.median == pytest.approx(np.median(prices), rel=0.08)


def test_only_the_most_frequent_values_are_ranked(tmp_path):
    items = [f"i{n}" for n in range(RANKS + 5)] + ["i7"]
    _, features = _features(tmp_path, items, [None] * len(items), [0] * len(items))
    stats = features["item"].string_stats
    assert (stats.unique, len(stats.rank_histogram.buckets)) == (RANKS + 5, RANKS)
    assert (stats.rank_histogram.buckets[0].label, stats.rank_histogram.buckets[0].sample_count) == ("i7", 2)


def test_a_number_that_is_always_missing_has_an_empty_histogram(tmp_path):
    _, features = _features(tmp_path, ["a"], [None], [1])
    (standard,) = features["price"].num_stats.histograms
    assert len(standard.buckets) == 0
    assert features["clicked"].num_stats.min == 1.0
