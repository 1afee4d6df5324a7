"""Tests of `Dropout`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.layers import Dropout

ONES = np.ones((301, 333), np.float32)  # an odd number of elements


def dropped(rate=0.2, seed=3, x=ONES, **settings):
    return np.array(tf.cast(Dropout(rate, seed=seed, **settings)(x, training=True), tf.float32))


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_its_share_is_zeroed_and_the_rest_scaled_so_that_the_mean_stays(rate):
    out = dropped(rate)
    deviation = np.sqrt(rate * (1 - rate) / out.size)
    assert abs((out == 0).mean() - rate) < 4 * deviation
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=2e-5 / (1 - rate))
    assert out.mean() == pytest.approx(1, abs=4 * deviation / (1 - rate))


def test_elements_are_dropped_independently():
    zero = dropped(0.5) == 0
    pairs = [(zero[:, 1:], zero[:, :-1]), (zero[1:], zero[:-1])]
    flat = zero.ravel()
    pairs += [(flat[step:], flat[:-step]) for step in (2, 3, 4)]  # a random word holds two neighbours
    for a, b in pairs:
        both = np.mean(a & b)
        assert both == pytest.approx(0.25, abs=0.008)


def test_without_training_or_with_rate_0_the_very_input_comes_back():
    x = tf.constant(ONES)
    assert Dropout(0.5)(x) is x
    assert Dropout(0.0)(x, training=True) is x


def test_the_gradient_passes_where_the_value_did():
    x = tf.constant(np.random.default_rng(0).normal(size=(40, 50)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = Dropout(0.3, seed=1)(x, training=True)
    gradient = tape.gradient(y, x, 2 * tf.ones_like(x))
    np.testing.assert_allclose(gradient, 2 * y / x, rtol=1e-5)
    assert 0.2 < np.mean(np.array(gradient) == 0) < 0.4


def test_the_seed_and_the_state_decide():
    layer, twin = Dropout(0.4, seed=7), Dropout(0.4, seed=7)
    first, second = (np.array(layer(ONES, training=True)) for _ in range(2))
    assert (first != second).any()
    assert (dropped(0.4, seed=8) != first).any()
    twin.seed_generator.state.assign([7, 1])  # as a checkpoint restores it
    np.testing.assert_array_equal(twin(ONES, training=True), second)
    function = tf.function(lambda x: twin(x, training=True))
    twin.seed_generator.state.assign([7, 0])
    np.testing.assert_array_equal(function(ONES), first)
    np.testing.assert_array_equal(function(ONES), second)


def test_bfloat16_drops_the_same_elements():
    half = dropped(0.2, dtype="mixed_bfloat16")
    np.testing.assert_array_equal(half == 0, dropped(0.2) == 0)
    assert set(np.unique(half)) == {0, 1.25}


def test_config_round_trip():
    layer = Dropout(0.3, seed=5, name="d")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is Dropout
    np.testing.assert_array_equal(copy(ONES, training=True), layer(ONES, training=True))
