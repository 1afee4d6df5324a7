"""The history's field: what an entry is made of, against numpy, and that parts share nothing."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.features.spec import HistorySpec, HistoryTask, InputSpec
from rmtl_tf.layers.history import HistoryField

N, H, W = 4, 3, 6
TASKS = (HistoryTask("click", "c", 0), HistoryTask("buy", "b", 0))
HISTORY = HistorySpec("mean", H, 1, "item", ("item", "price"), TASKS)
SPEC = InputSpec(
    categorical=(("user", 5), ("item", 7)), numeric=("age", "price"), ids=("user",), history=HISTORY
)


def inputs(seed=0):
    """Entries in the last 3, 0, 1 and 2 places, and the current records."""
    random = np.random.default_rng(seed)
    present = np.arange(H) >= H - np.array([3, 0, 1, 2])[:, None]
    codes = random.integers(1, 4, (N, H, 2)) * present[..., None]
    embedded = random.normal(size=(N, H, 1, W)).astype(np.float32)
    numbers = random.normal(size=(N, H, 1)).astype(np.float32)
    now = random.normal(size=(N, 1, W)).astype(np.float32), random.normal(size=(N, 1)).astype(np.float32)
    return [present, embedded, numbers, codes.astype(np.int32), *now]


def make(encoder="mean", parts=1, spec=SPEC):
    layer = HistoryField(
        replace(spec, history=replace(HISTORY, encoder=encoder)), W, parts, seed=3, name="history"
    )
    layer.build()
    for linear in layer.maps:
        linear.bias.assign(np.linspace(-0.3, 0.3, linear.units))
    return layer


def test_mean_of_entries_made_of_ids_numbers_and_what_is_known():
    layer, (present, embedded, numbers, codes, *now) = make(), inputs()
    kernel, bias = layer.maps[0].kernel.numpy(), layer.maps[0].bias.numpy()
    expected = np.zeros((N, W))
    for n in range(N):
        entries = []
        for h in np.flatnonzero(present[n]):
            feedback = np.concatenate([np.eye(3)[code - 1] for code in codes[n, h]])
            x = np.concatenate([embedded[n, h, 0], numbers[n, h], feedback])
            entries.append(np.maximum(x @ kernel + bias, 0))
        if entries:
            expected[n] = np.mean(entries, axis=0)
    result = layer([present, embedded, numbers, codes, *now])
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    assert layer.compute_output_shape([(None, H)]) == (None, W)


def test_the_attention_asks_with_the_current_record_without_feedback():
    layer, (present, embedded, numbers, codes, now, now_numbers) = make("attention"), inputs()
    kernel, bias = layer.maps[0].kernel.numpy(), layer.maps[0].bias.numpy()
    x = np.concatenate([now[:, 0], now_numbers, np.zeros((N, 6))], axis=1)
    asked = np.maximum(x @ kernel + bias, 0).astype(np.float32)
    known = np.concatenate([np.eye(4)[codes[..., k]][..., 1:] for k in range(2)], axis=2)
    entries = np.maximum(np.concatenate([embedded[:, :, 0], numbers, known], axis=2) @ kernel + bias, 0)
    expected = layer.encoders[0]([entries.astype(np.float32), asked, present])
    result = layer([present, embedded, numbers, codes, now, now_numbers])
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ["mean", "gru", "attention"])
def test_parts_share_nothing(encoder):
    """Each part of the field moves with its own columns of the embedded ids, and with no other's."""
    layer, tensors = make(encoder, parts=2), inputs()
    embedded, now = tf.Variable(tensors[1]), tf.Variable(tensors[4])
    with tf.GradientTape() as tape:
        field = layer([tensors[0], embedded, tensors[2], tensors[3], now, tensors[5]])
        first = tf.reduce_sum(field[:, : W // 2] ** 2)
    variables = [v for v in layer.trainable_variables if "_1/" in v.path]
    gradients = tape.gradient(first, [embedded, now, *variables])
    assert np.abs(gradients[0][..., : W // 2]).max() > 0
    np.testing.assert_array_equal(gradients[0][..., W // 2 :], 0)
    if encoder == "attention":
        np.testing.assert_array_equal(gradients[1][..., W // 2 :], 0)
    assert variables
    assert all(g is None or not np.any(g) for g in gradients[2:])
    assert field.shape == (N, W)
    np.testing.assert_array_equal(field[1], np.zeros(W))


@pytest.mark.parametrize("encoder", ["mean", "gru", "attention"])
def test_without_numbers_and_without_tasks(encoder):
    bare = replace(HISTORY, inputs=("item",), tasks=(), encoder=encoder)
    layer = HistoryField(replace(SPEC, history=bare), W, seed=3)
    layer.build()
    present, embedded, numbers, codes, now, now_numbers = inputs()
    result = layer([present, embedded, numbers[..., :0], codes[..., :0], now, now_numbers[..., :0]])
    assert layer.maps[0].kernel.shape == (W, W)
    assert np.isfinite(result).all()
    assert np.abs(result[0]).max() > 0


def test_config_round_trip():
    layer = make("gru", parts=2)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert copy.spec == layer.spec
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(inputs()), layer(inputs()))


@pytest.mark.parametrize(("spec", "parts"), [(replace(SPEC, history=None), 1), (SPEC, 4)])
def test_a_field_that_cannot_be_is_refused(spec, parts):
    with pytest.raises(ValueError, match="must have a history"):
        HistoryField(spec, W, parts)
