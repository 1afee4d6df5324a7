"""Tests of `PEPNet`."""

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import PEPNet
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones import oracles


def test_tower_without_hidden_layers_is_linear_in_the_scaled_embedding(spec, tasks, batch, oracle, small):
    backbone = PEPNet(spec, tasks(2), **{**small, "bottom": (), "tower": ()})
    backbone.build()
    expected = oracles.pepnet(oracle(backbone), batch(), 2, layers=0)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-4, atol=1e-5)


def test_no_gradient_flows_through_what_the_gates_only_read(spec, tasks, batch, small):
    """The gradient of the state is that of finite differences with the stopped inputs held fixed."""
    backbone = PEPNet(spec, tasks(2), dtype="float64", **{**small, "dropout": 0.0})
    backbone.build()
    state = tf.constant(np.random.default_rng(0).normal(size=(1, 12)))
    with tf.GradientTape() as tape:
        tape.watch(state)
        total = tf.reduce_sum(backbone.logits(state))
    gradient = tape.gradient(total, state).numpy()[0]
    scaled = backbone.epnet(tf.concat([state[:, 8:], state], axis=1)) * state

    def with_frozen_reads(x):
        own = backbone.epnet(tf.concat([x[:, 8:], state], axis=1)) * x
        read = tf.concat([x[:, :8], scaled], axis=1)
        return sum(float(tower([own, read])[0, 0]) for tower in backbone.towers)

    step = 1e-6
    for i in range(12):
        e = np.eye(12)[i : i + 1] * step
        numeric = (with_frozen_reads(state + e) - with_frozen_reads(state - e)) / (2 * step)
        np.testing.assert_allclose(gradient[i], numeric, rtol=1e-4, atol=1e-8)


def test_ids_anywhere_among_the_inputs_are_the_prior(tasks, oracle, small):
    """Moving the id field to the end and its embedding with it: the gates' inputs move too."""
    spec = InputSpec(categorical=(("hour", 4), ("item", 5)), ids=("item",))
    backbone = PEPNet(spec, tasks(1), **{**small, "tower": (), "bottom": (6,)})
    backbone.build()
    assert backbone.towers[0].gates[0].hidden.kernel.shape[0] == 4 + 8
    oracle(backbone)
    state = np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)
    scaled = backbone.epnet(np.concatenate([state[:, :4], state], axis=1)) * state
    expected = backbone.towers[0]([scaled, tf.concat([state[:, 4:], scaled], axis=1)])
    np.testing.assert_allclose(backbone.logits(tf.constant(state)), expected, rtol=1e-5)


def test_all_inputs_ids_leaves_epnet_the_embedding_alone(tasks, small):
    spec = InputSpec(categorical=(("user", 5), ("item", 7)), ids=("user", "item"))
    backbone = PEPNet(spec, tasks(2), **small)
    assert backbone({"user": tf.constant([1, 2]), "item": tf.constant([3, 4])}).shape == (2, 2)
    assert backbone.epnet.hidden.kernel.shape == (8, 8)


def test_inputs_without_ids_are_refused(tasks, small):
    with pytest.raises(UserError, match="user or item id"):
        PEPNet(InputSpec(categorical=(("hour", 5),)), tasks(2), **small)


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)), ids=("f0", "f1"))
    backbone = PEPNet(spec, [Task("click"), Task("buy")])
    backbone.build()
    state = 7 * 128

    def gate(inputs, units):
        return inputs * units + units + units * units + units

    widths = [state, 512, 256, 128, 64]
    tower = sum(a * b + b + gate(2 * 128 + state, b) for a, b in pairwise(widths)) + 65
    expected = 7 * 1000 * 128 + gate(5 * 128 + state, state) + 2 * tower
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected
