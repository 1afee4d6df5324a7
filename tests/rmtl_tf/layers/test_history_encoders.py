"""The encoders against numpy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.errors import UserError
from rmtl_tf.layers.history_encoders import ENCODERS

N, H, D, HEADS = 5, 4, 6, 2
every = pytest.mark.parametrize("name", ENCODERS)


def make(name, dtype="float32", seed=1):
    """A built encoder whose weights are all random, biases and ages too."""
    encoder = ENCODERS[name](D, H, HEADS, seed, dtype=dtype, name=name)
    encoder.build()
    random = np.random.default_rng(seed)
    for weight in encoder.weights:
        weight.assign(random.normal(size=weight.shape) * 0.7)
    return encoder


def batch(seed=0):
    """Entries, current records, and 0 to H entries that are there, in the last places."""
    random = np.random.default_rng(seed)
    present = np.arange(H) >= H - np.array([4, 0, 1, 3, 2])[:, None]
    entries, current = random.normal(size=(N, H, D)), random.normal(size=(N, D))
    return entries.astype(np.float32), current.astype(np.float32), present


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mean(weights, entries, current):
    return entries.mean(axis=0) if len(entries) else np.zeros(D)


def gru(weights, entries, current):
    """Cho et al. 2014 with the reset gate after the product (cuDNN's form); gates in Keras' order z, r, h."""
    kernel, recurrent, bias = (weights[f"gru/gru_cell/{n}"] for n in ("kernel", "recurrent_kernel", "bias"))
    state = np.zeros(D)
    for x in entries:
        given, own = np.split(x @ kernel + bias[0], 3), np.split(state @ recurrent + bias[1], 3)
        z, r = sigmoid(given[0] + own[0]), sigmoid(given[1] + own[1])
        state = z * state + (1 - z) * np.tanh(given[2] + r * own[2])
    return state


def attention(weights, entries, current):
    heads, share = [], D // HEADS
    if not len(entries):
        return np.zeros(D)
    for head in range(HEADS):
        own = slice(head * share, (head + 1) * share)
        query = current @ weights["query/kernel"][:, own]
        scores = []
        for place, entry in enumerate(entries):
            age = len(entries) - place  # the newest is of age 1
            key = entry @ weights["key/kernel"][:, own]
            scores.append(query @ key / np.sqrt(share) + weights["age"][head, age - 1])
        share_of = np.exp(scores) / np.exp(scores).sum()
        heads.append(share_of @ (entries @ weights["value/kernel"][:, own]))
    return np.concatenate(heads) @ weights["output/kernel"]


ORACLES = {"mean": mean, "gru": gru, "attention": attention}


@every
def test_encoder_equals_numpy_on_histories_of_every_length(name):
    encoder, (entries, current, present) = make(name), batch()
    weights = {w.path.split("/", 1)[1]: w.numpy().astype(np.float64) for w in encoder.weights}
    expected = [ORACLES[name](weights, entries[n][present[n]], current[n]) for n in range(N)]
    np.testing.assert_allclose(encoder([entries, current, present]), expected, rtol=2e-5, atol=2e-6)


@every
def test_no_entries_give_zeros_and_finite_gradients(name):
    encoder, (entries, current, _) = make(name), batch()
    entries, current = tf.Variable(entries), tf.Variable(current)
    with tf.GradientTape() as tape:
        result = encoder([entries, current, tf.zeros((N, H), tf.bool)])
        loss = tf.reduce_sum(result)
    np.testing.assert_array_equal(result, np.zeros((N, D)))
    gradients = tape.gradient(loss, [entries, current, *encoder.trainable_variables])
    for gradient in gradients:
        assert gradient is None or np.isfinite(gradient).all()


@every
def test_what_stands_in_the_padding_does_not_matter(name):
    encoder, (entries, current, present) = make(name), batch()
    other = np.where(present[:, :, None], entries, np.float32(1e6))
    np.testing.assert_array_equal(encoder([other, current, present]), encoder([entries, current, present]))


@pytest.mark.parametrize(("name", "moved"), [("mean", False), ("gru", True), ("attention", True)])
def test_only_the_mean_does_not_see_the_order(name, moved):
    encoder, (entries, current, _) = make(name), batch()
    present = np.ones((N, H), bool)
    one, two = (encoder([e, current, present]).numpy() for e in (entries, entries[:, ::-1]))
    assert (np.abs(one - two).max() > 1e-3) == moved


def test_only_the_attention_reads_the_current_record():
    entries, current, _ = batch()
    present = np.ones((N, H), bool)
    for name in ENCODERS:
        encoder = make(name)
        one, two = (encoder([entries, c, present]).numpy() for c in (current, -current))
        assert (one != two).any() == (name == "attention")


@every
def test_same_seed_gives_the_same_bits_whatever_the_global_seed(name):
    def result(seed):
        encoder = ENCODERS[name](D, H, HEADS, seed)
        encoder.build()
        return [*(np.array(v) for v in encoder.variables), encoder(list(batch())).numpy()]

    keras.utils.set_random_seed(1)
    first = result(7)
    keras.utils.set_random_seed(2)
    for a, b in zip(first, result(7), strict=True):
        np.testing.assert_array_equal(a, b)
    assert name == "mean" or any((a != b).any() for a, b in zip(first, result(8), strict=True))


@every
def test_config_round_trip(name):
    encoder = make(name)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
    assert type(copy) is type(encoder)
    assert copy.get_config() == encoder.get_config()
    assert encoder.compute_output_shape([(None, H, D), (None, D), (None, H)]) == (None, D)


@every
def test_bfloat16_stays_close_and_finite(name):
    entries, current, present = batch()
    full, mixed = make(name), make(name, "mixed_bfloat16")
    result = mixed([entries, current, present])
    assert result.dtype == tf.bfloat16
    np.testing.assert_allclose(
        tf.cast(result, tf.float32), full([entries, current, present]), rtol=0.1, atol=0.1
    )
    np.testing.assert_array_equal(tf.cast(result, tf.float32)[1], np.zeros(D))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(UserError, match="divisor of the width 6, received 4"):
        ENCODERS["attention"](6, H, heads=4)
