"""Every backbone with the session's history in its state: it trains all of it, is served, comes back."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import BACKBONES
from rmtl_tf.features.spec import HistorySpec, HistoryTask

ENCODERS = ("mean", "gru", "attention")
# Each backbone with one encoder, so that it stays fast; every encoder meets five.
every = pytest.mark.parametrize(
    ("kind", "encoder"),
    [pytest.param(kind, ENCODERS[i % 3], id=name) for i, (name, kind) in enumerate(BACKBONES.items())],
)


def with_history(spec, encoder):
    tasks = (HistoryTask("click", "click", 0),)
    return replace(spec, history=HistorySpec(encoder, 3, 2, "item", ("item", "price"), tasks))


def add_history(inputs, n, seed=0):
    random = np.random.default_rng(seed)
    present = np.arange(3) >= 3 - np.arange(n)[:, None] % 4
    return inputs | {
        "history/item": tf.constant(random.integers(1, 7, (n, 3)) * present, tf.int32),
        "history/price": tf.constant(random.normal(size=(n, 3)) * present, tf.float32),
        "history/click": tf.constant(random.integers(1, 4, (n, 3)) * present, tf.int32),
    }


@every
def test_a_history_is_trained_served_and_restored(kind, encoder, spec, tasks, batch, small, tmp_path):
    settings = {**small, "dropout": 0.0, "bottom": (16,), "tower": (8,)}
    backbone = kind(with_history(spec, encoder), tasks(2), id_dropout=0.2, **settings)
    inputs = add_history(batch(24), 24)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(inputs, training=True) ** 2)
    own = [v for v in backbone.trainable_variables if "/history/" in v.path]
    assert own
    for variable, gradient in zip(own, tape.gradient(loss, own), strict=True):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path

    expected = backbone(inputs).numpy()
    other = backbone(inputs | {"history/click": 4 - inputs["history/click"]}).numpy()
    has_history = np.arange(24) % 4 > 0
    assert (expected[has_history] != other[has_history]).any()
    np.testing.assert_array_equal(expected[~has_history], other[~has_history])

    module = tf.Module()
    module.backbone = backbone
    signature = {name: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for name, value in inputs.items()}
    module.serve = tf.function(lambda x: module.backbone(x, training=False), input_signature=[signature])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.serve(inputs), expected, rtol=1e-5, atol=1e-6)

    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(backbone))
    copy(inputs)
    assert copy.spec == backbone.spec
    copy.set_weights(backbone.get_weights())
    np.testing.assert_array_equal(copy(inputs), expected)


def test_no_task_of_single_task_teaches_anothers_history(spec, tasks, batch, small):
    backbone = BACKBONES["single_task"](with_history(spec, "gru"), tasks(2), **{**small, "dropout": 0.0})
    inputs = add_history(batch(12), 12)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(inputs, training=True)[:, 0] ** 2)
    others = [v for v in backbone.trainable_variables if "map_1/" in v.path or "encoder_1/" in v.path]
    assert len(others) == 5
    for gradient in tape.gradient(loss, others):
        assert gradient is None or not np.any(gradient)
