"""Records that show whether an exported model answers as the trained one does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from rmtl_tf.features.apply import Column, GraphApplier
from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.features.history import apply_history, history_defaults, history_types
from rmtl_tf.features.spec import HistorySpec

UNSEEN = "a value that no log has ever held"


def hard_records(
    columns: Mapping[str, Column], graph: TransformGraph, count: int, history: HistorySpec | None = None
) -> dict[str, np.ndarray]:
    """`count` real records, then again with unseen values, then again with one input a record missing.

    Args:
        columns: raw input -> [N] values, as `rmtl_tf.features.apply` takes them; lists [N, L].

    Returns:
        Raw input -> [M], or [M, L], numpy array of bytes, float32 or int64.
    """
    types = graph.raw | history_types(graph, history)
    defaults = graph.defaults | history_defaults(graph, history)
    real = {name: _numpy(columns[name])[:count] for name in types}
    lists = {name for name, values in real.items() if values.ndim > 1}
    unseen = {
        name: np.where((values == b"") & (name in lists), b"", UNSEEN.encode())
        if types[name] == "string"
        else values
        for name, values in real.items()
    }
    missing = {name: values.copy() for name, values in real.items()}
    for number, (name, values) in enumerate(missing.items()):
        some = values[number :: len(missing)]
        # Of a list every second entry, so that what is missing stands between what is there.
        (some[:, ::2] if name in lists else some)[:] = defaults[name]
    return {name: np.concatenate([real[name], unseen[name], missing[name]]) for name in real}


def training_path(
    backbone: keras.layers.Layer,
    graph: TransformGraph,
    raw: Mapping[str, np.ndarray],
    history: HistorySpec | None = None,
) -> np.ndarray:
    """Probabilities [N, K] by the way training takes: offline transform, then the backbone."""
    strings = {name for name, kind in graph.raw.items() if kind == "string"}
    columns: dict[str, Column] = {}
    for name in graph.raw:
        kind = pa.large_list(pa.large_binary()) if name in graph.several else pa.large_binary()
        columns[name] = pa.array(raw[name].tolist(), kind) if name in strings else raw[name]
    arrays = GraphApplier(graph)(columns)
    if history is not None:
        arrays |= apply_history(graph, history, raw)
    inputs = {name: tf.constant(values) for name, values in arrays.items()}
    return tf.sigmoid(backbone(inputs, training=False)).numpy()


def write_parity(
    path: Path, raw: Mapping[str, np.ndarray], probabilities: np.ndarray, tasks: list[str]
) -> None:
    """Saves raw inputs by name, [N] or [N, L], and `prediction/<task>` [N] as .npz without pickles."""
    predictions = {f"prediction/{task}": probabilities[:, k] for k, task in enumerate(tasks)}
    arrays: dict[str, Any] = {**raw, **predictions}
    np.savez(path, **arrays)


def _numpy(values: Column) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values.astype(np.bytes_) if values.dtype == object else values
    return np.array(values.to_pylist(), dtype=np.bytes_)
