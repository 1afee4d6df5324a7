"""What two passes share is computed once, and the passes are what they are alone."""

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import BACKBONES
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers.once import once, shared_passes
from rmtl_tf.schema import Task

SPEC = InputSpec(categorical=(("user", 5), ("item", 7)), numeric=("price",), ids=("user",))
TASKS = (Task("click"), Task("buy", parent="click"))


def inputs(n=9):
    random = np.random.default_rng(0)
    ids = {name: tf.constant(random.integers(0, size, n), tf.int32) for name, size in SPEC.categorical}
    return ids | {"price": tf.constant(random.normal(size=n), tf.float32)}


def test_a_part_and_a_tensor_are_computed_once_inside_only():
    calls = []

    def compute(x):
        calls.append(x)
        return len(calls)

    x, y = tf.constant(1.0), tf.constant(1.0)
    assert [once("a", x, compute), once("a", x, compute)] == [1, 2]
    with shared_passes():
        assert [once("a", x, compute), once("a", x, compute)] == [3, 3]
        assert [once("b", x, compute), once("a", y, compute), once("a", (x, y), compute)] == [4, 5, 6]
        assert [once("a", (x, y), compute), once("a", (y, x), compute)] == [6, 7]
    assert once("a", x, compute) == 8
    with shared_passes():
        assert once("a", x, compute) == 9


def test_an_error_inside_ends_the_sharing():
    with pytest.raises(RuntimeError), shared_passes():
        raise RuntimeError
    assert [once("a", 1, lambda x: object()) is once("a", 1, lambda x: object())] == [False]


@pytest.mark.parametrize(("name", "id_dropout"), [*((name, 0.0) for name in BACKBONES), ("mmoe", 0.5)])
def test_a_pass_with_dropout_and_one_without_are_the_same_as_apart(name, id_dropout):
    settings = {"embedding_dim": 4, "bottom": (6, 5), "tower": (3,), "cross_layers": 1, "dropout": 0.5}

    def passes(shared):
        backbone = BACKBONES[name](SPEC, TASKS, seed=2, id_dropout=id_dropout, **settings)
        backbone(inputs())
        batch = inputs()
        with tf.GradientTape() as tape:
            if shared:
                with shared_passes():
                    trained, still = (backbone(batch, training=training) for training in (True, False))
            else:
                trained, still = (backbone(batch, training=training) for training in (True, False))
        gradients = tape.gradient(trained, backbone.trainable_variables)
        return trained, still, [tf.convert_to_tensor(g) for g in gradients if g is not None]

    shared, apart = passes(True), passes(False)
    np.testing.assert_array_equal(shared[0], apart[0])
    np.testing.assert_array_equal(shared[1], apart[1])
    assert (shared[0].numpy() != shared[1].numpy()).any()
    for a, b in zip(shared[2], apart[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
