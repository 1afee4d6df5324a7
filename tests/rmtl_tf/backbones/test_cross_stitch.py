"""Tests of `CrossStitch` and its unit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import CrossStitch
from rmtl_tf.backbones.cross_stitch import CrossStitchUnit
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_units_start_as_convex_combinations_that_prefer_their_own_task(count):
    unit = CrossStitchUnit()
    unit([np.ones((2, 5), np.float32)] * count)
    alpha = unit.alpha.numpy()
    assert alpha.shape == (count, count, 5)
    np.testing.assert_allclose(alpha.sum(axis=1), 1, rtol=1e-6)
    for a in range(count):
        for b in range(count):
            expected = (0.9 if count > 1 else 1.0) if a == b else 0.1 / (count - 1)
            np.testing.assert_allclose(alpha[a, b], expected, rtol=1e-6)


def test_gradient_of_a_unit_follows_equations_2_and_3():
    """dL/dx_j = sum_i alpha_ij dL/dx~_i, and dL/dalpha_ij = sum over records of dL/dx~_i x_j."""
    random = np.random.default_rng(0)
    x = [tf.constant(random.normal(size=(7, 4)), tf.float32) for _ in range(3)]
    upstream = random.normal(size=(3, 7, 4)).astype(np.float32)
    unit = CrossStitchUnit()
    unit(x)
    unit.alpha.assign(random.normal(size=(3, 3, 4)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(tf.stack(unit(x)) * upstream)
    gradients = tape.gradient(loss, [*x, unit.alpha.value])
    alpha, values = unit.alpha.numpy(), np.stack(x)
    np.testing.assert_allclose(
        np.stack(gradients[:3]), np.einsum("ijw,inw->jnw", alpha, upstream), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        gradients[3], np.einsum("inw,jnw->ijw", upstream, values), rtol=1e-4, atol=1e-5
    )


def test_units_that_keep_to_their_task_separate_the_networks(spec, tasks, batch, small):
    backbone = CrossStitch(spec, tasks(2), **{**small, "dropout": 0.0})
    backbone.build()
    for stitch in backbone.stitches:
        stitch.alpha.assign(np.repeat(np.eye(2)[:, :, None], stitch.alpha.shape[2], axis=2))
    first = [layer for layer in backbone.hidden if layer.name.endswith("_0")]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(batch())[:, 1] ** 2)
    kernels = [layer.dense[0].kernel.value for layer in first]
    for gradient in tape.gradient(loss, kernels, unconnected_gradients="zero"):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_unit_config_round_trip():
    unit = CrossStitchUnit(name="stitch")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(unit))
    assert copy.get_config() == unit.get_config()
    assert copy.compute_output_shape([(None, 4)] * 2) == [(None, 4)] * 2


def test_linear_networks_have_nothing_to_stitch(spec, tasks, batch, oracle, small):
    backbone = CrossStitch(spec, tasks(2), **{**small, "bottom": (), "tower": ()})
    backbone.build()
    o = oracle(backbone)
    assert not backbone.stitches
    expected = np.stack([o.tower(k, 0, o.state(batch())) for k in range(2)], axis=1)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-4, atol=1e-5)


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = CrossStitch(spec, [Task("click"), Task("buy")])
    backbone.build()
    network = (7 * 128 * 512 + 512) + (512 * 256 + 256) + (256 * 128 + 128) + (128 * 64 + 64) + (64 + 1)
    units = 2 * 2 * (512 + 256 + 128 + 64)
    expected = 7 * 1000 * 128 + 2 * network + units
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected
