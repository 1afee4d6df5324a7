"""Compressed inputs of `FieldEmbedding`."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from rmtl_tf.backbones import MMoE, SingleTask
from rmtl_tf.config import ModelConfig, TrainingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.export import probe
from rmtl_tf.export.parity import hard_records, training_path, write_parity
from rmtl_tf.export.saved_model import export_saved_model
from rmtl_tf.export.score import ScoreFormula
from rmtl_tf.features.compression import Compression
from rmtl_tf.features.graph import Categorical, TransformGraph
from rmtl_tf.features.spec import HistorySpec, InputSpec
from rmtl_tf.layers import FieldEmbedding
from rmtl_tf.rl.critic_forms import FORMS
from rmtl_tf.rl.critic_io import load_critic, save_critic
from rmtl_tf.schema import Task
from rmtl_tf.training.problem import Problem
from rmtl_tf.training.run import load_actor, run_training
from tests.conftest import make_table

PLAIN = InputSpec(
    categorical=(("user", 23), ("hour", 26), ("item", 52)), numeric=("price",), ids=("user", "item")
)
RATIOS = {"user": 3, "item": 7}


def compressed(operation="product", spec=PLAIN) -> InputSpec:
    return replace(spec, compression=Compression(tuple(RATIOS.items()), operation))


def layer_of(operation, seed=0, **settings):
    """A layer of width 3 with random rows."""
    layer = FieldEmbedding(compressed(operation), width=3, seed=seed, **settings)
    layer.build()
    layer.table.assign(np.random.default_rng(seed).normal(size=layer.table.shape))
    return layer


def vector(table, first, size, ratio, operation, number):
    """The oracle for one id: paper's equation 2 with remainders and quotients after the two own rows."""
    if number < 2:
        return table[first + number]
    m = -(-(size - 2) // ratio)
    remainder, quotient = table[first + 2 + (number - 2) % m], table[first + 2 + m + (number - 2) // m]
    return remainder * quotient if operation == "product" else remainder + quotient


def oracle(layer, operation, name, ids):
    table, first = layer.table.numpy(), layer.field_rows(name).start
    size = dict(PLAIN.categorical)[name]
    if name not in RATIOS:
        return table[first + np.array(ids)]
    return np.stack([vector(table, first, size, RATIOS[name], operation, number) for number in ids])


def batch(n=40, seed=0):
    random = np.random.default_rng(seed)
    inputs = {name: random.integers(0, size, n).astype(np.int32) for name, size in PLAIN.categorical}
    return inputs | {"price": random.normal(size=n).astype(np.float32)}


@pytest.mark.parametrize("operation", ["product", "sum"])
def test_state_is_made_of_remainder_and_quotient_rows(operation):
    layer, inputs = layer_of(operation), batch()
    state = layer(inputs).numpy().reshape(-1, 4, 3)
    for place, (name, _) in enumerate(PLAIN.categorical):
        np.testing.assert_allclose(
            state[:, place], oracle(layer, operation, name, inputs[name]), rtol=1e-6, err_msg=name
        )


def test_all_rows_are_one_variable_and_each_input_has_its_part():
    layer = layer_of("product")
    user, item = 2 + 7 + 3, 2 + 8 + 7  # own rows, remainders, quotients
    assert layer.table.shape == (user + 26 + item, 3)
    assert layer.field_rows("user") == slice(0, user)
    assert layer.field_rows("item") == slice(user + 26, user + 26 + item)


@pytest.mark.parametrize("operation", ["product", "sum"])
def test_vectors_are_those_of_every_id(operation, monkeypatch):
    monkeypatch.setattr("rmtl_tf.layers.embedding._AT_ONCE", 10)
    layer = layer_of(operation)
    for name, size in PLAIN.categorical:
        np.testing.assert_allclose(
            layer.vectors(name), oracle(layer, operation, name, range(size)), rtol=1e-6
        )


def test_no_two_ids_of_a_new_layer_have_one_vector():
    for operation in ("product", "sum"):
        layer = FieldEmbedding(compressed(operation), width=4, seed=3)
        layer.build()
        vectors = layer.vectors("item")
        assert len(np.unique(vectors, axis=0)) == 52


def test_new_vectors_are_as_large_as_those_of_a_full_table():
    plain = FieldEmbedding(PLAIN, width=16, seed=3)
    plain.build()
    for operation in ("product", "sum"):
        layer = FieldEmbedding(compressed(operation), width=16, seed=3)
        layer.build()
        assert 0.8 < layer.vectors("item").std() / plain.vectors("item").std() < 1.6


@pytest.mark.parametrize("operation", ["product", "sum"])
def test_gradient_is_row_sparse_and_that_of_the_composition(operation):
    layer = layer_of(operation)
    ids = np.array([0, 1, 2, 9, 51, 9], np.int32)
    inputs = {"user": np.zeros(6, np.int32), "hour": np.zeros(6, np.int32), "item": ids}
    weights = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        state = tf.reshape(layer(inputs | {"price": np.zeros(6, np.float32)}), (6, 4, 3))
        loss = tf.reduce_sum(state[:, 2] * weights)
    gradient = tape.gradient(loss, layer.table.value)
    assert isinstance(gradient, tf.IndexedSlices)
    table, first = layer.table.numpy().astype(np.float64), layer.field_rows("item").start
    expected = np.zeros_like(table)
    for number, weight in zip(ids, weights, strict=True):
        if number < 2:
            expected[first + number] += weight
            continue
        one, other = first + 2 + (number - 2) % 8, first + 2 + 8 + (number - 2) // 8
        expected[one] += weight * (table[other] if operation == "product" else 1)
        expected[other] += weight * (table[one] if operation == "product" else 1)
    np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected, rtol=1e-5, atol=1e-6)


def test_dropped_ids_read_the_unknown_value_which_no_other_id_shares():
    layer = layer_of("product", id_dropout=0.5)
    inputs = {name: np.full(400, size - 1, np.int32) for name, size in PLAIN.categorical}
    state = layer(inputs | {"price": np.zeros(400, np.float32)}, training=True).numpy().reshape(-1, 4, 3)
    table, first = layer.table.numpy(), layer.field_rows("item").start
    dropped = np.isclose(state[:, 2], table[first + 1]).all(axis=1)
    np.testing.assert_allclose(state[~dropped, 2], oracle(layer, "product", "item", [51] * (~dropped).sum()))
    assert 0.35 < dropped.mean() < 0.65


def test_several_ids_and_a_history_read_the_same_compressed_rows():
    spec = InputSpec(
        categorical=(("item", 52), ("tag", 30)),
        ids=("item",),
        several=(("tag", 3),),
        history=HistorySpec("mean", 4, 1, "item", ("item",)),
    )
    spec = replace(spec, compression=Compression((("item", 7), ("tag", 5)), "sum"))
    layer = FieldEmbedding(spec, width=2)
    layer.build()
    layer.table.assign(np.random.default_rng(0).normal(size=layer.table.shape))
    inputs = {"item": [5, 51], "tag": [[3, 29, 0], [1, 0, 0]], "history/item": [[0, 0, 7, 9], [0, 0, 0, 51]]}
    state = layer({key: tf.constant(value) for key, value in inputs.items()}).numpy().reshape(2, 3, 2)
    items, tags = layer.vectors("item"), layer.vectors("tag")
    np.testing.assert_allclose(state[:, 0], items[[5, 51]], rtol=1e-6)
    np.testing.assert_allclose(state[:, 1], [(tags[3] + tags[29]) / 2, tags[1]], rtol=1e-5)
    other = dict(inputs, **{"history/item": [[0, 0, 7, 8], [0, 0, 0, 51]]})
    changed = layer({key: tf.constant(value) for key, value in other.items()}).numpy().reshape(2, 3, 2)
    assert (changed[0, 2] != state[0, 2]).any()
    assert (changed[1] == state[1]).all()


def test_ids_outside_the_field_are_refused():
    inputs = batch(3) | {"item": np.array([0, 5, 52], np.int32)}
    with pytest.raises(tf.errors.InvalidArgumentError, match="ids must be below"):
        layer_of("sum")(inputs)


def test_a_saved_layer_answers_the_same():
    layer, inputs = layer_of("sum"), batch()
    again = FieldEmbedding.from_config(layer.get_config())
    again.build()
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(inputs), layer(inputs))


def test_mixed_precision_composes_rows_and_keeps_the_table_in_float32():
    layer = FieldEmbedding(compressed("product"), width=3, dtype="mixed_bfloat16")
    state = layer(batch())
    assert (state.dtype, layer.table.dtype) == (tf.bfloat16, "float32")


def test_a_critic_of_another_table_is_refused(tmp_path):
    critic = FORMS["shared"](compressed("product"), 2, embedding_dim=3, bottom=(4,), action=2, tower=(3,))
    critic.build()
    save_critic(tmp_path, critic, {})
    again = load_critic(tmp_path, compressed("product"), 2)
    np.testing.assert_array_equal(again.embedding.table, critic.embedding.table)
    for other in (PLAIN, compressed("sum")):
        with pytest.raises(UserError, match="input 'item', table"):
            load_critic(tmp_path, other, 2)


GRAPH = TransformGraph(
    features=(
        Categorical("user", tuple("abcdefgh"), is_id=True, buckets=13),
        Categorical("item", (), is_id=True, buckets=50),
    ),
    tasks=(Task("click"), Task("buy", parent="click")),
    labels=("click", "buy"),
    timestamp="t",
)


def test_hashed_and_compressed_inputs_are_served_as_in_training(tmp_path):
    """Raw strings -> buckets -> remainder and quotient rows, in a process that has TensorFlow alone."""
    GRAPH.save(tmp_path / "graph")
    spec = compressed("product", GRAPH.input_spec())
    backbone = MMoE(spec, GRAPH.tasks, embedding_dim=4, bottom=(8,), tower=(4,), experts=2, seed=1)
    score = ScoreFormula({"click": 1.0, "buy": 2.0})
    export_saved_model(backbone, GRAPH, tmp_path / "graph", score, tmp_path / "model")
    random = np.random.default_rng(0)
    columns = {
        "user": pa.array([b"%c" % c for c in random.integers(97, 122, 60)], pa.large_binary()),
        "item": pa.array([b"item %d" % i for i in random.integers(0, 200, 60)], pa.large_binary()),
    }
    raw = hard_records(columns, GRAPH, 60)
    write_parity(tmp_path / "parity.npz", raw, training_path(backbone, GRAPH, raw), ["click", "buy"])
    answer = probe.probe(tmp_path / "model", tmp_path / "parity.npz", [1, 50], 1, 1e-6)
    assert {check["name"]: check for check in answer["checks"] if not check["passed"]} == {}


def test_a_whole_training_with_compressed_tables_is_saved_and_loaded(tmp_path):
    model = ModelConfig(backbone="mmoe", embedding_dim=3, bottom=(6,), tower=(4,), experts=2)
    critic = {"bottom": [4], "action": 2, "tower": [3], "max_epochs": 1}
    once = {"max_epochs": 1, "learning_rate": 0.01}
    training = TrainingConfig(
        batch_size=64, arms=["control", "paper"], critic=critic, pretrain=once, finetune=once
    )
    spec = compressed("product", GRAPH.input_spec())
    tables = [make_table([3, 4, 2] * 10, spec=spec, seed=seed) for seed in (0, 1)]
    run_training(Problem(spec, GRAPH.tasks, *tables), GRAPH, "item", model, training, 0, tmp_path)
    actor = load_actor(tmp_path, "paper", GRAPH)
    assert actor.spec == spec
    assert actor.embedding.vectors("item").shape == (52, actor.embedding.width)
    tensor = keras.ops.convert_to_numpy(actor({k: v[:5] for k, v in tables[0].features.items()}))
    assert np.isfinite(tensor).all()


def test_single_task_compresses_the_tables_of_every_task():
    layer = SingleTask(compressed("sum"), GRAPH.tasks, embedding_dim=3, bottom=(4,), tower=(3,))
    layer.embedding.build()
    assert layer.embedding.table.shape == (2 + 7 + 3 + 26 + 2 + 8 + 7, 6)
