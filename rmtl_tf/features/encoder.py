"""The transform graph inside TensorFlow: raw named features -> model inputs, as it is exported.

The same arithmetic as `rmtl_tf.features.apply`, in float64 up to the last cast, so that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

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
    vocabulary_path,
)
from rmtl_tf.features.history_encoder import (
    DTYPES,
    densify,
    encode_history,
    list_parse_spec,
    list_signature,
)
from rmtl_tf.features.spec import HistorySpec


def signature(graph: TransformGraph, history: HistorySpec | None = None) -> dict[str, tf.TensorSpec]:
    """Raw input name -> spec of a [N] tensor: string, float32, or int64 (the timestamp, seconds UTC); of
    a [N, L] tensor for a feature with several values, and for the lists of a history."""
    single = {
        name: tf.TensorSpec([None, None] if name in graph.several else [None], DTYPES[kind], name)
        for name, kind in graph.raw.items()
    }
    return single | list_signature(graph, history)


def parse_examples(
    examples: tf.Tensor, graph: TransformGraph, history: HistorySpec | None = None
) -> dict[str, tf.Tensor]:
    """Serialized Examples of one record [N] -> the raw inputs of `signature`; what is absent is missing."""
    single = {
        name: tf.io.FixedLenFeature([], DTYPES[kind], default_value=graph.defaults[name])
        for name, kind in graph.raw.items()
        if name not in graph.several
    }
    several = {name: tf.io.RaggedFeature(DTYPES[graph.raw[name]]) for name in graph.several}
    parsed = tf.io.parse_example(examples, single | several | list_parse_spec(graph, history))
    parsed |= {name: parsed[name].to_tensor(graph.defaults[name]) for name in several}
    return densify(graph, history, parsed)


class RawEncoder(tf.Module):
    """Maps raw features to the inputs of a backbone; a part of the SavedModel, vocabularies included.

    Args:
        graph: the description.
        directory: where `graph` is saved; its vocabulary files become assets of the SavedModel.
        history: the earlier records that the backbone reads; None: none.
    """

    def __init__(
        self, graph: TransformGraph, directory: str | Path, history: HistorySpec | None = None
    ) -> None:
        super().__init__(name="raw_encoder")
        self.graph, self.history = graph, history
        self._tables = {
            feature.name: _table(vocabulary_path(directory, feature.name))
            for feature in graph.features
            if isinstance(feature, Categorical) and feature.vocabulary
        }

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Encodes N records.

        Args:
            raw: one [N] or [N, L] tensor for each name of `signature(graph, history)`; others are ignored.

        Returns:
            One [N] tensor for each name of `graph.input_spec()`: int32 ids, float32 numbers, always finite;
            [N, L + 1] ids for a list of L values; one [N, H] tensor for each input of the history.
        """
        outputs = self.encode(raw, [feature.name for feature in self.graph.features])
        if self.history is not None:
            outputs |= encode_history(self, self.history, raw)
        return outputs

    def encode(self, raw: Mapping[str, tf.Tensor], names: Sequence[str]) -> dict[str, tf.Tensor]:
        """The inputs `names` of N records."""
        outputs = {}
        for feature in self.graph.features:
            if feature.name not in names:
                continue
            if isinstance(feature, Categorical) and feature.max_values > 1:
                outputs[feature.name] = self._several_ids(feature, raw[feature.name])
            elif isinstance(feature, Categorical):
                outputs[feature.name] = self._ids(feature, raw[feature.name])
            elif isinstance(feature, TimePart):
                outputs[feature.name] = _time_part(feature, raw[feature.source])
            elif isinstance(feature, Rate):
                outputs[feature.name] = _rate(feature, raw[feature.positive], raw[feature.known])
            else:
                outputs[feature.name] = _numeric(feature, raw[feature.name])
        return outputs

    def _ids(self, feature: Categorical, values: tf.Tensor) -> tf.Tensor:
        ids = tf.fill(tf.shape(values), UNKNOWN_ID)
        if feature.vocabulary:
            ids = tf.cast(self._tables[feature.name].lookup(values), tf.int32)
        if feature.buckets:
            bucket = tf.cast(tf.strings.to_hash_bucket_fast(values, feature.buckets), tf.int32)
            outside = tf.equal(ids, UNKNOWN_ID) & tf.not_equal(values, "")
            ids = tf.where(outside, feature.first_bucket + bucket, ids)
        return ids

    def _several_ids(self, feature: Categorical, values: tf.Tensor) -> tf.Tensor:
        """Lists [N, L] -> ids [N, L + 1] of the first M values that are not empty; 1 where there is none."""
        # One more column, so that there is a place for the 1 where L is 0.
        values = tf.pad(values, [[0, 0], [0, 1]], constant_values="")
        there = tf.not_equal(values, "")
        kept = there & (tf.cumsum(tf.cast(there, tf.int32), axis=1) <= feature.max_values)
        ids = tf.where(kept, self._ids(feature, values), PADDING_ID)
        none = tf.logical_not(tf.reduce_any(kept, axis=1, keepdims=True))
        first = tf.equal(tf.range(tf.shape(ids)[1]), 0)
        return tf.where(none & first, UNKNOWN_ID, ids)


def _table(path: Path) -> tf.lookup.StaticHashTable:
    return tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(path),
            key_dtype=tf.string,
            key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
            value_dtype=tf.int64,
            value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
            value_index_offset=FIRST_ID,
        ),
        default_value=UNKNOWN_ID,
    )


def _numeric(feature: Numeric, values: tf.Tensor) -> tf.Tensor:
    x = tf.cast(values, tf.float64)
    known = tf.math.is_finite(x)
    # A non-finite number must not enter the arithmetic: NaN is only hidden, not removed, by a later `where`.
    x = tf.where(known, x, tf.constant(feature.missing or 0.0, tf.float64))
    if feature.log:
        x = tf.sign(x) * tf.math.log1p(tf.abs(x))
    scaled = _standardise(x, feature.mean, feature.std)
    return scaled if feature.missing is not None else tf.where(known, scaled, tf.zeros_like(scaled))


def _rate(feature: Rate, positive: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    known = _count(known)
    positive = tf.minimum(_count(positive), known)
    prior = tf.constant(feature.prior * feature.strength, tf.float64)
    rate = (positive + prior) / (known + tf.constant(feature.strength, tf.float64))
    return _standardise(rate, feature.mean, feature.std)


def _count(values: tf.Tensor) -> tf.Tensor:
    x = tf.cast(values, tf.float64)
    return tf.where(tf.math.is_finite(x) & (x > 0), x, tf.zeros_like(x))


def _standardise(x: tf.Tensor, mean: float, std: float) -> tf.Tensor:
    scaled = (x - tf.constant(mean, tf.float64)) / tf.constant(std, tf.float64)
    return tf.cast(tf.clip_by_value(scaled, -CLIP, CLIP), tf.float32)


def _time_part(feature: TimePart, timestamp: tf.Tensor) -> tf.Tensor:
    parts = tf.math.floordiv(timestamp, feature.seconds) + feature.shift
    ids = FIRST_ID + tf.math.floormod(parts, feature.period)
    ids = tf.where(tf.equal(timestamp, MISSING_TIMESTAMP), tf.constant(UNKNOWN_ID, tf.int64), ids)
    return tf.cast(ids, tf.int32)
