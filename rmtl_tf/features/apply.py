"""The transform graph on columns: raw values -> model inputs, vectorised, without TensorFlow.

`rmtl_tf.features.encoder` holds the same arithmetic for serving; a test compares the two value by value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rmtl_tf.features.fingerprint import buckets_of
from rmtl_tf.features.graph import (
    CLIP,
    FIRST_ID,
    MISSING_TIMESTAMP,
    PADDING_ID,
    UNKNOWN_ID,
    Categorical,
    Numeric,
    Rate,
    TimePart,
    TransformGraph,
)
from rmtl_tf.features.lookup import Lookup

Column = Any  # pyarrow.Array (of lists where a feature has several values) or numpy.ndarray, [N]


class GraphApplier:
    """Applies a graph to columns of records; builds the lookup tables once."""

    def __init__(self, graph: TransformGraph) -> None:
        self._graph = graph
        self._lookups = {
            feature.name: Lookup(feature.vocabulary.values)
            for feature in graph.features
            if isinstance(feature, Categorical)
        }

    def __call__(self, raw: Mapping[str, Column]) -> dict[str, np.ndarray]:
        """Transforms N records.

        Args:
            raw: for each name of `graph.raw` its N values: a binary Arrow array (string; large lists of them
                where there are several), or a float32 (float) or int64 (int) numpy array.

        Returns:
            For each name of `graph.input_spec()` [N] int64 ids, [N, M] where there are several, or [N]
            float32 numbers, always finite.
        """
        outputs = {}
        for feature in self._graph.features:
            if isinstance(feature, Categorical) and feature.max_values > 1:
                outputs[feature.name] = _several_ids(feature, self._lookups[feature.name], raw[feature.name])
            elif isinstance(feature, Categorical):
                outputs[feature.name] = _ids(feature, self._lookups[feature.name], raw[feature.name])
            elif isinstance(feature, TimePart):
                outputs[feature.name] = time_part(feature, raw[feature.source])
            elif isinstance(feature, Rate):
                rate = smoothed_rate(
                    raw[feature.positive], raw[feature.known], feature.prior, feature.strength
                )
                outputs[feature.name] = _standardise(rate, feature.mean, feature.std)
            else:
                outputs[feature.name] = _numeric(feature, raw[feature.name])
        return outputs


def number(values: np.ndarray, log: bool) -> np.ndarray:
    """g(x) of `Numeric` in float64, [N] -> [N]; NaN where x is missing (NaN or infinite)."""
    x = values.astype(np.float64)
    x[~np.isfinite(x)] = np.nan
    return np.sign(x) * np.log1p(np.abs(x)) if log else x


def smoothed_rate(positive: np.ndarray, known: np.ndarray, prior: float, strength: float) -> np.ndarray:
    """r of `Rate` in float64: two counts [N] -> [N] in [0, 1]."""
    known = _count(known)
    positive = np.minimum(_count(positive), known)
    return (positive + prior * strength) / (known + strength)


def time_part(feature: TimePart, timestamp: np.ndarray) -> np.ndarray:
    """Ids of `TimePart`: int64 seconds [N] -> int64 [N]."""
    parts = timestamp // feature.seconds + feature.shift
    return np.where(timestamp == MISSING_TIMESTAMP, UNKNOWN_ID, FIRST_ID + parts % feature.period)


def _ids(feature: Categorical, lookup: Lookup, values: pa.Array) -> np.ndarray:
    values = values.cast(pa.large_binary())
    places = lookup(values)
    ids = np.where(places < 0, UNKNOWN_ID, FIRST_ID + places)
    if feature.buckets:
        there = pc.fill_null(pc.not_equal(values, b""), False).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero((places < 0) & there)
        ids[rows] = feature.first_bucket + buckets_of(values.take(pa.array(rows)), feature.buckets)
    return ids


def _several_ids(feature: Categorical, lookup: Lookup, lists: pa.Array) -> np.ndarray:
    """Ids of the first M non-empty values of each list; 1 where there are none, 0 behind the last."""
    most = feature.max_values
    values = lists.flatten()
    row = np.repeat(np.arange(len(lists)), lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
    there = pc.not_equal(values, pa.scalar(b"", values.type)).to_numpy(zero_copy_only=False)
    row = row[there]
    place = np.arange(row.size) - np.searchsorted(row, row)
    kept = place < most
    ids = np.full((len(lists), most), PADDING_ID, np.int64)
    ids[row[kept], place[kept]] = _ids(feature, lookup, values.filter(pa.array(there)))[kept]
    ids[ids[:, 0] == PADDING_ID, 0] = UNKNOWN_ID
    return ids


def _numeric(feature: Numeric, values: np.ndarray) -> np.ndarray:
    if feature.missing is not None:
        values = np.where(np.isfinite(values), values.astype(np.float64), feature.missing)
    scaled = _standardise(number(values, feature.log), feature.mean, feature.std)
    return np.where(np.isnan(scaled), np.float32(0), scaled)


def _count(values: np.ndarray) -> np.ndarray:
    x = values.astype(np.float64)
    return np.where(np.isfinite(x) & (x > 0), x, 0.0)


def _standardise(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    return np.clip((x - mean) / std, -CLIP, CLIP).astype(np.float32)
