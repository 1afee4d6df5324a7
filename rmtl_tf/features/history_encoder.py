"""The history lists of requests inside TensorFlow: the same as `rmtl_tf.features.history`, as exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.features.history import CODES, NO_CODE, history_defaults, history_types
from rmtl_tf.features.spec import UNKNOWN_YET, HistorySpec, history_input, history_list

if TYPE_CHECKING:
    from rmtl_tf.features.encoder import RawEncoder

DTYPES = {"string": tf.string, "float": tf.float32, "int": tf.int64}


def encode_history(
    encoder: RawEncoder, history: HistorySpec, raw: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Raw lists {`history_<name>`: [N, L]} -> the model's inputs {`history/<name>`: [N, H]}."""
    items = raw[history_list(history.item)]
    # One column of padding, so that there is something to gather where L is 0.
    there = tf.pad(tf.not_equal(items, ""), [[0, 0], [0, 1]])  # [N, L + 1]
    order = tf.argsort(tf.cast(there, tf.int32), axis=1, direction="DESCENDING", stable=True)
    count = tf.reduce_sum(tf.cast(there, tf.int32), axis=1, keepdims=True)
    place = count - history.length + tf.range(history.length)  # [N, H]
    present = place >= 0
    place = tf.gather(order, tf.maximum(place, 0), batch_dims=1)

    def take(name: str, padding: Any) -> tf.Tensor:
        values = tf.pad(raw[history_list(name)], [[0, 0], [0, 1]], constant_values=padding)
        return tf.gather(values, place, batch_dims=1)

    defaults = encoder.graph.defaults
    entries = {name: tf.reshape(take(name, defaults[name]), [-1]) for name in history.inputs}
    encoded = encoder.encode(entries, history.inputs)
    inputs = {history_input(name): tf.reshape(values, tf.shape(place)) for name, values in encoded.items()}
    for task in history.tasks:
        code = tf.cast(take(task.name, NO_CODE), tf.int32)
        valid = tf.reduce_any(tf.equal(code[..., tf.newaxis], tf.constant(CODES)), axis=2)
        inputs[history_input(task.name)] = tf.where(valid, code, UNKNOWN_YET)
    return {name: tf.where(present, values, tf.zeros_like(values)) for name, values in inputs.items()}


def list_signature(graph: TransformGraph, history: HistorySpec | None) -> dict[str, tf.TensorSpec]:
    """List input -> spec of its [N, L] tensor."""
    return {
        name: tf.TensorSpec([None, None], DTYPES[kind], name)
        for name, kind in history_types(graph, history).items()
    }


def list_parse_spec(graph: TransformGraph, history: HistorySpec | None) -> dict[str, tf.io.RaggedFeature]:
    """For `tf.io.parse_example`: a list of any length, absent: no history."""
    return {name: tf.io.RaggedFeature(DTYPES[kind]) for name, kind in history_types(graph, history).items()}


def densify(
    graph: TransformGraph, history: HistorySpec | None, parsed: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Parsed features with the ragged lists made [N, L], L the longest list of items; shorter ones padded."""
    if history is None:
        return dict(parsed)
    dense = dict(parsed)
    longest = tf.maximum(tf.reduce_max(parsed[history_list(history.item)].row_lengths()), 0)
    for name, default in history_defaults(graph, history).items():
        dense[name] = parsed[name].to_tensor(default, shape=tf.stack([-1, longest]))
    return dense
