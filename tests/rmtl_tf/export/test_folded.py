"""What is exported computes what was trained, whichever part of it was multiplied out."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import BACKBONES, MMoE, SharedBottom, build_backbone
from rmtl_tf.config import ModelConfig
from rmtl_tf.export.folded import FoldedState, Frozen, fitting, inference_logits
from rmtl_tf.features.compression import Compression
from rmtl_tf.features.spec import HistorySpec, HistoryTask, InputSpec
from rmtl_tf.layers.embedding import FieldEmbedding
from rmtl_tf.schema import Task

SPEC = InputSpec(
    categorical=(("user", 40), ("item", 9), ("tags", 6), ("hour", 5)),
    numeric=("price", "age"),
    ids=("user", "item"),
    several=(("tags", 3),),
)
TASKS = (Task("click"), Task("buy", parent="click"))
HISTORY = HistorySpec("mean", 3, 1, "item", ("item", "price"), (HistoryTask("click", "click", 0),))
SMALL = {"embedding_dim": 4, "bottom": (8, 6), "tower": (5,), "experts": 3}
# Something else than a matrix reads their state, or they make one of their own.
NOT_FOLDED = {"single_task", "pepnet", "stem", "metaheac"}
ALL = 1 << 30


def inputs(spec: InputSpec, count: int, seed: int = 0) -> dict[str, tf.Tensor]:
    random = np.random.default_rng(seed)
    several = dict(spec.several)
    given = {
        name: random.integers(0, size, (count, several[name]) if name in several else count)
        for name, size in spec.categorical
    }
    given |= {name: random.normal(size=count).astype(np.float32) for name in spec.numeric}
    if spec.history is not None:
        shape = (count, spec.history.length)
        given["history/item"] = random.integers(0, 9, shape)
        given["history/price"] = random.normal(size=shape).astype(np.float32)
        given["history/click"] = random.integers(0, 4, shape)
    return {
        name: tf.constant(values, tf.float32 if values.dtype.kind == "f" else tf.int32)
        for name, values in given.items()
    }


def with_biases(backbone: keras.layers.Layer) -> keras.layers.Layer:
    """Biases start at 0, and what is 0 could be left out unseen."""
    if not backbone.built:
        backbone.build()
    random = np.random.default_rng(3)
    for variable in backbone.weights:
        if "bias" in variable.path:
            variable.assign(random.normal(size=variable.shape))
    return backbone


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_answers_as_it_was_trained(name: str) -> None:
    spec = replace(SPEC, history=HISTORY) if name in ("ple", "single_task") else SPEC
    config = ModelConfig(backbone=name, **SMALL)
    backbone = with_biases(build_backbone(config, spec, TASKS, seed=1))
    given = inputs(spec, 7)
    expected = backbone(given, training=False).numpy()
    logits = inference_logits(backbone, ALL)
    tables = [v for v in getattr(logits, "variables", ()) if "folded_table" in v.name]
    assert bool(tables) == (name not in NOT_FOLDED)
    np.testing.assert_allclose(tf.function(logits)(given), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("spec", "cross", "most"),
    [
        (SPEC, 0, 0),
        (SPEC, 0, 4 * 8 * (5 + 9)),
        (SPEC, 1, ALL),
        (replace(SPEC, history=HISTORY), 0, 4 * 8 * 5),
        (InputSpec((("user", 40),)), 0, ALL),
        (InputSpec((("user", 40),)), 0, 10),
        (InputSpec((), numeric=("price",)), 0, ALL),
        (replace(SPEC, compression=Compression((("user", 4),), "sum")), 0, ALL),
    ],
)
def test_whatever_fits_the_answer_is_the_same(spec: InputSpec, cross: int, most: int) -> None:
    backbone = with_biases(
        SharedBottom(spec, TASKS, embedding_dim=4, bottom=(8,), tower=(5,), cross_layers=cross, seed=2)
    )
    logits = tf.function(inference_logits(backbone, most))
    for count in (7, 1, 0):
        given = inputs(spec, count)
        expected = backbone(given, training=False).numpy()
        np.testing.assert_allclose(logits(given), expected, atol=2e-6)


def test_products_are_those_of_the_state_with_each_matrix() -> None:
    embedding = FieldEmbedding(SPEC, 4, seed=1)
    embedding.build()
    random = np.random.default_rng(0)
    embedding.numeric.bias.assign(random.normal(size=4))
    matrices = [
        (random.normal(size=(embedding.state_width, width)).astype(np.float32), np.float32(range(width)))
        for width in (8, 3)
    ]
    given = inputs(SPEC, 6)
    state = embedding(given).numpy().astype(np.float64)
    folded = FoldedState(embedding, matrices, 4 * (8 + 3) * (5 + 9))
    assert [table.shape.as_list() for table in folded.variables] == [[5 + 9, 8], [5 + 9, 3]]
    for found, (matrix, bias) in zip(folded(given), matrices, strict=True):
        np.testing.assert_allclose(found, state @ matrix + bias, rtol=1e-5, atol=1e-6)


def test_fields_with_few_ids_are_folded_first_and_lists_never() -> None:
    embedding = FieldEmbedding(SPEC, 4)
    assert fitting(embedding, 10, 40 * 5 - 1) == []
    assert fitting(embedding, 10, 40 * 14) == ["hour", "item"]
    assert fitting(embedding, 10, ALL) == ["hour", "item", "user"]


def test_of_what_is_not_read_nothing_is_kept() -> None:
    backbone = with_biases(MMoE(SPEC, TASKS, embedding_dim=4, bottom=(8,), tower=(5,), experts=3))
    logits = inference_logits(backbone, ALL)
    function = tf.function(logits).get_concrete_function(inputs(SPEC, 2))
    read = sorted(v.name for v in function.variables)
    # Three experts and two gates are matrices of the state; the embedding is read for the lists alone.
    assert [name.rpartition("/")[2] for name in read] == ["folded_table:0"] * 5 + ["table:0"]
    constants = sum(
        tf.make_ndarray(node.attr["value"].tensor).size
        for called in function.graph.as_graph_def().library.function
        for node in called.node_def
        if node.op == "Const"
    )
    assert constants < backbone.count_params() - backbone.embedding.table.shape[0] * 4


def test_a_layer_that_is_no_backbone_or_has_its_own_state_is_called_itself() -> None:
    class Doubled(SharedBottom):
        def state(self, inputs, training=False):
            return 2 * super().state(inputs, training)

    class Plain(keras.layers.Layer):
        def call(self, inputs, training=False):
            assert not training
            return keras.ops.stack([inputs["price"], inputs["age"]], axis=1)

    given = inputs(SPEC, 3)
    for layer in (Doubled(SPEC, TASKS, embedding_dim=4, bottom=(8,), tower=(5,)), Plain()):
        logits = inference_logits(layer, ALL)
        assert not isinstance(logits, Frozen)
        np.testing.assert_array_equal(logits(given), layer(given, training=False))
