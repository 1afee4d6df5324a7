"""The optimizer of a network is the configured one; it moves a table in mixed precision too."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from rmtl_tf.config import OptimizerConfig
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import FieldEmbedding
from rmtl_tf.optimizers import build_optimizer

SPEC = InputSpec(categorical=(("item", 30),))


def embedding(**kwargs):
    layer = FieldEmbedding(SPEC, 4, **kwargs)
    layer.build()
    return layer


def test_every_setting_arrives_at_the_optimizer():
    config = OptimizerConfig(tables="adagrad", table_learning_rate=0.05, clip_norm=2.0)
    made = build_optimizer(embedding(), 1e-2, 1e-4, config)
    values = made.get_config()
    assert values["learning_rate"] == pytest.approx(1e-2)
    assert (values["tables"], values["table_learning_rate"]) == ("adagrad", 0.05)
    assert (values["weight_decay"], values["global_clipnorm"], values["clipnorm"]) == (1e-4, 2.0, None)
    assert build_optimizer(embedding(), 1e-2, config=OptimizerConfig(clip_variable_norm=3.0)).clipnorm == 3.0
    assert build_optimizer(embedding(), 1e-2).weight_decay is None


def test_an_exact_rule_is_dense_where_a_target_follows_and_a_lazy_one_stays():
    for rule, followed in (("adam", "dense"), ("adam_lazy", "adam_lazy")):
        assert build_optimizer(embedding(), 1e-2, config=OptimizerConfig(tables=rule)).tables == rule
        assert (
            build_optimizer(embedding(), 1e-2, config=OptimizerConfig(tables=rule), followed=True).tables
            == followed
        )


def test_two_ways_to_clip_are_refused():
    with pytest.raises(ValidationError, match="one of them"):
        OptimizerConfig(clip_norm=1.0, clip_variable_norm=1.0)


@pytest.mark.parametrize("rule", ["adam", "adam_lazy", "adagrad", "adagrad_rowwise", "ftrl"])
def test_in_mixed_precision_the_table_stays_float32_and_its_rows_move(rule):
    layer = embedding(dtype="mixed_bfloat16")
    start = np.array(layer.table)
    optimizer = build_optimizer(layer, 1e-2, config=OptimizerConfig(tables=rule))
    batch = {"item": np.array([3, 5, 3], np.int32)}
    for _ in range(3):
        with tf.GradientTape() as tape:
            state = layer(batch)
            loss = tf.reduce_sum(tf.cast(state, tf.float32) ** 2)
        optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)
    end = np.array(layer.table)
    assert state.dtype == tf.bfloat16
    assert end.dtype == np.float32
    moved = np.flatnonzero((end != start).any(axis=1))
    np.testing.assert_array_equal(moved, [3, 5])
    assert (np.abs(end[moved]) <= np.abs(start[moved]) + 1e-2).all()


def test_a_stock_embedding_is_a_table():
    model = keras.Sequential(
        [keras.Input((), dtype="int32"), keras.layers.Embedding(30, 4), keras.layers.Dense(1)]
    )
    model.compile(optimizer=build_optimizer(model, 1e-2), loss="mse", jit_compile=False)
    start = model.get_weights()[0]
    model.fit(np.array([2, 7, 2]), np.ones((3, 1)), verbose=0)
    np.testing.assert_array_equal(np.flatnonzero((model.get_weights()[0] != start).any(axis=1)), [2, 7])
