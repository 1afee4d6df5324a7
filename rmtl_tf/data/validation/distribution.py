"""Distributions of features, read from FeatureStats.pb, and laid side by side.

A missing value counts like any other. Of a categorical feature only the `RANKS` most frequent values are
known: a value that is in one list alone counts 0 in the other, so a distance is off by at most the share of
the last value listed. The values that are in no list count together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmtl_tf.data import histogram
from rmtl_tf.data.feature_stats import GRID_EXPONENT, GRID_LOG
from rmtl_tf.errors import UserError

MISSING = "(missing)"
OTHERS = "(others)"
COMPARED = 32  # buckets: with more of them, small samples of the same distribution look different


@dataclass(frozen=True)
class Distribution:
    """How often each value (or bucket of numbers) occurs.

    Attributes:
        counts: by value; by bucket of the grid for numbers.
        missing: records without a value.
        others: records with a value that is not listed.
        exponent: of the grid (`rmtl_tf.data.histogram`); None for a categorical feature.
        log: whether numbers are counted by their logarithm.
    """

    counts: Mapping[Any, float]
    missing: float = 0
    others: float = 0
    exponent: int | None = None
    log: bool = False

    @property
    def total(self) -> float:
        return sum(self.counts.values()) + self.missing + self.others

    def on_grid(self, exponent: int) -> dict[Any, float]:
        """The counts in buckets of a grid that is not finer."""
        if self.exponent is None or not self.counts:
            return dict(self.counts)
        index = np.array(list(self.counts), np.int64)
        coarse = histogram.coarsen(index, self.exponent, exponent)
        counts: dict[Any, float] = {}
        for key, count in zip(coarse.tolist(), self.counts.values(), strict=True):
            counts[key] = counts.get(key, 0) + count
        return counts


def side_by_side(before: Distribution, after: Distribution) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of values [V], and how often each occurs on both sides [V]; `MISSING` and `OTHERS` stand last.

    Raises:
        ValueError: numbers on one side, strings on the other; or a logarithm on one side.
    """
    if (before.exponent is None, before.log) != (after.exponent is None, after.log):
        raise ValueError("the two sides do not count the same kind of values")
    exponent = max((side.exponent for side in (before, after) if side.exponent is not None), default=0)
    if before.exponent is not None:
        index = np.array([*before.on_grid(exponent), *after.on_grid(exponent)], np.int64)
        exponent, _ = histogram.fit(exponent, index, COMPARED)
    first, second = before.on_grid(exponent), after.on_grid(exponent)
    keys = sorted(first.keys() | second.keys())
    names = [str(key) for key in keys]
    if before.exponent is not None and keys:
        low, high = histogram.edges(exponent, np.array(keys, np.int64), before.log)
        names = [f"{begin:.6g} to {end:.6g}" for begin, end in zip(low, high, strict=True)]
    columns = [
        np.array([*(side.get(key, 0) for key in keys), whole.missing, whole.others], float)
        for side, whole in ((first, before), (second, after))
    ]
    return [*names, MISSING, OTHERS], columns[0], columns[1]


def read_dataset(path: Path) -> Any:
    """The `DatasetFeatureStatistics` in a FeatureStats.pb.

    Raises:
        UserError: the file is missing or holds no statistics.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_metadata.proto.v0 import statistics_pb2

    try:
        proto = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise UserError(f"{path}: expected statistics of ExampleGen, received: {error}.") from None
    if len(proto.datasets) != 1:
        raise UserError(
            f"{path}: expected statistics of one split, received {len(proto.datasets)}. Run ExampleGen again."
        )
    return proto.datasets[0]


def distributions(dataset: Any) -> dict[str, Distribution]:
    """The distribution of every feature of a `DatasetFeatureStatistics`."""
    return {feature.path.step[0]: _distribution(feature) for feature in dataset.features}


def _distribution(feature: Any) -> Distribution:
    if feature.HasField("string_stats"):
        stats = feature.string_stats
        counts = {bucket.label: bucket.sample_count for bucket in stats.rank_histogram.buckets}
        common = stats.common_stats
        return Distribution(counts, common.num_missing, common.tot_num_values - sum(counts.values()))
    custom = {entry.name: entry.num for entry in feature.custom_stats}
    stats = feature.num_stats
    if GRID_EXPONENT not in custom:
        raise UserError(
            f"statistics of {feature.path.step[0]}: expected the custom statistic {GRID_EXPONENT}, received "
            "none. Write them with ExampleGen of this version."
        )
    exponent, log = int(custom[GRID_EXPONENT]), bool(custom[GRID_LOG])
    standard = stats.histograms[0].buckets
    index = histogram.beginning_at(np.array([bucket.low_value for bucket in standard]), exponent, log)
    counts = dict(zip(index.tolist(), (bucket.sample_count for bucket in standard), strict=True))
    return Distribution(counts, stats.common_stats.num_missing, 0, exponent, log)
