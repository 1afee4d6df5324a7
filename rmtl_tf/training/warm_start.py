"""A model starts as the one before it was, though vocabularies and scales moved on with the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa

from rmtl_tf.errors import UserError
from rmtl_tf.features.fingerprint import buckets_of
from rmtl_tf.features.graph import (
    FIRST_ID,
    UNKNOWN_ID,
    Categorical,
    Numeric,
    Rate,
    TransformGraph,
)
from rmtl_tf.files import read_json
from rmtl_tf.layers import FieldEmbedding

MODEL, MODEL_RUN, GRAPH = "model", "model_run", "transform_graph"
Scaled = Numeric | Rate


def start_weights(
    earlier: Path, new: keras.layers.Layer, new_graph: TransformGraph
) -> tuple[list[np.ndarray], dict[str, float]]:
    """Weights for `new` from the model of a Trainer's outputs in `earlier`, and what `transfer` says.

    Raises:
        UserError: the folder holds no such model, or one of other inputs or another architecture.
    """
    from rmtl_tf.training.run import load_actor

    graph = TransformGraph.load(earlier / MODEL / GRAPH)
    arm = read_json(earlier / MODEL / "manifest.json")["arm"]
    known = transfer(load_actor(earlier / MODEL_RUN, arm, graph), graph, new, new_graph)
    return [np.array(variable) for variable in new.weights], known


def transfer(
    old: keras.layers.Layer, old_graph: TransformGraph, new: keras.layers.Layer, new_graph: TransformGraph
) -> dict[str, float]:
    """Gives `new` the weights of `old`, so that both answer the same for the same raw record.

    A value keeps its embedding under its new id; one that `old` did not know starts with the embedding of the
    unknown value, which is how `old` saw it. The linear map of the numbers is rewritten for their new means
    and standard deviations. Two things `new` sees otherwise: numbers beyond the clip, and past rates, whose
    prior moved.

    Args:
        old, new: backbones of one architecture, built; each of the inputs its graph describes.
        old_graph, new_graph: what maps raw values to their inputs.

    Returns:
        For every categorical feature with a vocabulary the share of its new values that `old` knew.

    Raises:
        UserError: inputs or architectures differ.
    """
    _check_inputs(old_graph, new_graph)
    known: dict[str, float] = {}
    theirs, ours = _embeddings(old), _embeddings(new)
    special = {id(variable) for embedding in ours for variable in embedding.weights}
    pairs = list(zip(old.weights, new.weights, strict=False))
    shared = [(a, b) for a, b in pairs if id(b) not in special]
    if (
        len(old.weights) != len(new.weights)
        or len(theirs) != len(ours)
        or any(a.shape != b.shape for a, b in shared)
    ):
        raise UserError(
            "warm start: expected a model of the same architecture, received one with other weights. Keep "
            "the model section as it was, or train from scratch: --set training.warm_start=none."
        )
    for before, after in shared:
        after.assign(before)
    for before, after in zip(theirs, ours, strict=True):
        known |= _move_table(before, old_graph, after, new_graph)
        _move_numbers(before, old_graph, after, new_graph)
    return known


def _check_inputs(old: TransformGraph, new: TransformGraph) -> None:
    def names(graph: TransformGraph) -> set[str]:
        return {f"{feature.kind} {feature.name}" for feature in graph.features}

    if names(old) != names(new):
        raise UserError(
            f"warm start: the earlier model has other inputs: without {sorted(names(new) - names(old))}, "
            f"with {sorted(names(old) - names(new))}. Train from scratch: --set training.warm_start=none."
        )


def _embeddings(layer: keras.layers.Layer) -> list[FieldEmbedding]:
    return [part for part in layer._flatten_layers() if isinstance(part, FieldEmbedding)]


def _move_table(
    old: FieldEmbedding, old_graph: TransformGraph, new: FieldEmbedding, new_graph: TransformGraph
) -> dict[str, float]:
    """Fills `new.table` row by row; the share of known values by feature."""
    if new.table is None:
        return {}
    before, table = np.array(old.table), np.array(new.table)
    features = {f.name: f for f in old_graph.features if isinstance(f, Categorical)}
    known = {}
    for feature in new_graph.features:
        if isinstance(feature, Scaled):
            continue
        rows = before[old.field_rows(feature.name)]
        layouts = [embedding.spec.layout(feature.name) for embedding in (old, new)]
        if isinstance(feature, Categorical):
            places = _places(features[feature.name], feature)
            if feature.vocabulary:
                own = places[FIRST_ID : feature.first_bucket]
                known[feature.name] = float(
                    np.mean((own != UNKNOWN_ID) & (own < features[feature.name].first_bucket))
                )
            if all(layout.ratio == 1 for layout in layouts):
                rows = rows[places]
            elif layouts[0] != layouts[1] or (places != np.arange(feature.size)).any():
                raise UserError(
                    f"warm start: the table of {feature.name!r} is compressed, so its rows belong to ids, "
                    "which the new vocabulary gives to other values. Hash the feature with "
                    f"transform.features.{feature.name}={{top_k: 0, hash_buckets: N}}, whose ids stay, leave "
                    "model.compression out, or train from scratch: --set training.warm_start=none."
                )
        table[new.field_rows(feature.name)] = rows
    new.table.assign(table)
    return known


def _places(old: Categorical, new: Categorical) -> np.ndarray:
    """The old id of each new id: of its value, or of the values in its bucket.

    Raises:
        UserError: the values of one new bucket were in several old ones.
    """
    ids = {value: number for number, value in enumerate(old.vocabulary, FIRST_ID)}
    places = np.array([ids.get(value, UNKNOWN_ID) for value in new.vocabulary], np.int64)
    buckets = np.full(new.buckets, UNKNOWN_ID)
    if old.buckets:
        strangers = np.flatnonzero(places == UNKNOWN_ID)
        values = new.vocabulary.values.take(pa.array(strangers))
        places[strangers] = old.first_bucket + buckets_of(values, old.buckets)
        if new.buckets % old.buckets:
            raise UserError(
                f"warm start: {new.name!r} had {old.buckets} hash buckets and would have {new.buckets}, "
                "which mixes them. Keep hash_buckets, make it a multiple, or train from scratch: --set "
                "training.warm_start=none."
            )
        buckets = old.first_bucket + np.arange(new.buckets) % old.buckets
    return np.concatenate([np.arange(FIRST_ID), places, buckets])


def _move_numbers(
    old: FieldEmbedding, old_graph: TransformGraph, new: FieldEmbedding, new_graph: TransformGraph
) -> None:
    """W x + b of the old scaled numbers x = (g - m) / s, written for the new m' and s'."""
    if new.numeric is None or old.numeric is None:
        return
    kernel, bias = (np.array(variable, np.float64) for variable in old.numeric.weights)
    before, after = _scaled(old_graph), _scaled(new_graph)
    places = [old.spec.numeric.index(name) for name in new.spec.numeric]
    scale = np.array([after[name].std / before[name].std for name in new.spec.numeric])
    shift = np.array([(after[name].mean - before[name].mean) / before[name].std for name in new.spec.numeric])
    kernel = kernel[places]
    new.numeric.kernel.assign(kernel * scale[:, np.newaxis])
    new.numeric.bias.assign(bias + shift @ kernel)


def _scaled(graph: TransformGraph) -> Mapping[str, Scaled]:
    return {feature.name: feature for feature in graph.features if isinstance(feature, Scaled)}
