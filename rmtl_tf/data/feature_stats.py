"""FeatureStats.pb: what TFX's StatisticsGen writes, from which drift and skew are computed.

One `DatasetFeatureStatisticsList` a split; its "examples" are records. A categorical feature has its
most frequent values in `rank_histogram`; a number has a STANDARD histogram on the grid that the custom
statistics `grid_exponent` and `grid_log` (0 or 1) describe (`histogram.py`), and a QUANTILES histogram of
deciles.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rmtl_tf.data import histogram
from rmtl_tf.data.statistics import Statistics

FEATURE_STATS_FILE = "FeatureStats.pb"
GRID_EXPONENT, GRID_LOG = "grid_exponent", "grid_log"
RANKS = 1000

_TOP = 10
_DECILES = np.linspace(0, 1, 11)


def write_feature_stats(statistics: Statistics, split: str, path: Path, name: str | None = None) -> None:
    """Writes the statistics of one split, called `name` or as it is; equal statistics give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    proto = feature_stats(statistics, split)
    proto.datasets[0].name = name or split
    path.write_bytes(proto.SerializeToString(deterministic=True))


def feature_stats(statistics: Statistics, split: str) -> Any:
    """The `DatasetFeatureStatisticsList` of one split."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    proto = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = proto.datasets.add(name=split, num_examples=statistics.records[split])
    logs = {feature.name for feature in statistics.schema.inputs if feature.log}
    for name, feature in statistics.features(split).items():
        entry = dataset.features.add()
        entry.path.step.append(name)
        if feature["kind"] == "categorical":
            entry.type = statistics_pb2.FeatureNameStatistics.STRING
            _add_strings(
                entry.string_stats, statistics.value_counts(name, split), *statistics.rest(name, split)
            )
            common = entry.string_stats.common_stats
        else:
            entry.type = statistics_pb2.FeatureNameStatistics.FLOAT
            common = entry.num_stats.common_stats
            if feature["mean"] is not None:
                entry.num_stats.mean, entry.num_stats.std_dev = feature["mean"], feature["std"]
                entry.num_stats.min, entry.num_stats.max = feature["min"], feature["max"]
            _add_histograms(entry, *statistics.histogram(name, split), log=name in logs)
        common.num_missing = feature["missing"]
        common.num_non_missing = statistics.records[split] - feature["missing"]
    for label in statistics.schema.labels:
        entry = dataset.features.add()
        entry.path.step.append(label)
        entry.type = statistics_pb2.FeatureNameStatistics.INT
        _add_label(entry, statistics.value_counts(label, split))
    return proto


def _add_strings(stats: Any, counts: pl.DataFrame, distinct: int, others: int) -> None:
    """`counts` of the frequent values; beside them stand `distinct` rarer ones, `others` times together."""
    given = counts.filter(pl.col("value") != "")
    stats.unique = given.height + distinct
    stats.common_stats.tot_num_values = int(given["count"].sum()) + others
    for rank, (value, count) in enumerate(given.head(RANKS).iter_rows()):
        stats.rank_histogram.buckets.add(low_rank=rank, high_rank=rank, label=value, sample_count=count)
        if rank < _TOP:
            stats.top_values.add(value=value, frequency=count)


def _add_histograms(
    entry: Any, exponent: int, index: np.ndarray, counts: np.ndarray, log: bool = False
) -> None:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    stats = entry.num_stats
    entry.custom_stats.add(name=GRID_EXPONENT, num=exponent)
    entry.custom_stats.add(name=GRID_LOG, num=log)
    standard = stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
    low, high = histogram.edges(exponent, index, log)
    for begin, end, count in zip(low.tolist(), high.tolist(), counts.tolist(), strict=True):
        standard.buckets.add(low_value=begin, high_value=end, sample_count=count)
    if not index.size:
        return
    deciles = histogram.quantiles(exponent, index, counts, log, _DECILES).clip(stats.min, stats.max)
    stats.median = deciles[5]
    shares = stats.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
    for begin, end in zip(deciles[:-1].tolist(), deciles[1:].tolist(), strict=True):
        shares.buckets.add(low_value=begin, high_value=end, sample_count=int(counts.sum()) / 10)


def _add_label(entry: Any, counts: pl.DataFrame) -> None:
    found = dict(counts.iter_rows())
    missing = found.get("", 0)
    ones, total = found.get("1", 0), int(counts["count"].sum()) - missing
    stats = entry.num_stats
    stats.common_stats.num_missing = missing
    rate = ones / total if total else 0.0
    stats.mean, stats.std_dev, stats.num_zeros = rate, (rate * (1 - rate)) ** 0.5, total - ones
    stats.min, stats.max = float(ones == total > 0), float(ones > 0)
    stats.common_stats.num_non_missing = total
    labels = np.array([value for value in (0, 1) if found.get(str(value))], np.int64)
    _add_histograms(entry, 0, labels, np.array([found[str(value)] for value in labels], np.int64))
