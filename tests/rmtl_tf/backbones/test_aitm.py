"""Tests of `AITM` and its attention."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.backbones import AITM
from rmtl_tf.backbones.aitm import AdaptiveTransfer
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.rl.agent import Agent
from rmtl_tf.schema import Task
from rmtl_tf.weighting import MGDA
from tests.rmtl_tf.backbones import oracles

TREE = [Task("click"), Task("like", "click"), Task("view"), Task("buy", "click"), Task("return", "buy")]
PARENTS = (None, 0, None, 0, 3)


def test_logits_follow_the_papers_equations_down_a_tree(spec, batch, oracle, small):
    backbone = AITM(spec, TREE, **small)
    backbone.build()
    for variable in backbone.trainable_variables:  # else the weights of the attention are all about 1/2
        if "attention" in variable.path:
            variable.assign(variable * 5)
    expected = oracles.aitm(oracle(backbone), batch(), 5, parents=PARENTS)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-3, atol=1e-4)


@settings(max_examples=25)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_attention_equals_the_formula(n, width, seed):
    random = np.random.default_rng(seed)
    passed, own = random.normal(size=(2, n, width)).astype(np.float32)
    layer = AdaptiveTransfer(width, seed=seed)
    actual = layer(np.stack([passed, own], axis=1))
    kernels = [dense.kernel.numpy() for dense in (layer.value, layer.query, layer.key)]
    np.testing.assert_allclose(actual, oracles.ait(kernels, passed, own), rtol=1e-3, atol=1e-5)


def test_attention_does_not_care_for_the_order_of_its_two_inputs():
    pair = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    layer = AdaptiveTransfer(3, seed=1)
    np.testing.assert_allclose(layer(pair), layer(pair[:, ::-1]), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-20, 1e4, 1e15])
def test_attention_and_its_gradient_are_finite_for_extreme_inputs(scale):
    pair = tf.constant(np.random.default_rng(0).normal(size=(4, 2, 3)) * scale, tf.float32)
    layer = AdaptiveTransfer(3, seed=1)
    with tf.GradientTape() as tape:
        tape.watch(pair)
        total = tf.reduce_sum(layer(pair))
    assert np.isfinite(total)
    assert np.isfinite(tape.gradient(total, pair)).all()


def test_attention_config_round_trip_and_seed():
    pair = np.ones((2, 2, 3), np.float32)
    layer = AdaptiveTransfer(3, seed=4, name="attention")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert copy.compute_output_shape((None, 2, 3)) == (None, 3)
    np.testing.assert_array_equal(copy(pair), layer(pair))
    assert (AdaptiveTransfer(3, seed=5)(pair).numpy() != layer(pair).numpy()).any()


def test_the_childs_loss_teaches_the_parents_network_and_not_the_reverse(spec, batch, small):
    backbone = AITM(spec, [Task("click"), Task("buy", "click")], **{**small, "dropout": 0.0})
    backbone.build()
    first, second = (bottom.dense[0].kernel.value for bottom in backbone.bottoms)
    with tf.GradientTape(persistent=True) as tape:
        click, buy = tf.unstack(tf.reduce_sum(backbone(batch(30)) ** 2, axis=0))
    assert np.abs(tape.gradient(buy, first)).max() > 0
    assert np.abs(tape.gradient(click, second)).max() == 0


@pytest.mark.parametrize("tree", [False, True])
def test_calibrator_adds_what_children_are_likelier_than_their_parents(
    tree, spec, tasks, batch, oracle, small
):
    """alpha * mean over records of sum_k max(p_k - p_parent, 0), divided by K as the agent's loss is."""
    chosen, parents = (TREE, PARENTS) if tree else (tasks(3), (None, 0, 1))
    backbone = AITM(spec, chosen, **{**small, "dropout": 0.0})
    backbone.build()
    random = np.random.default_rng(1)
    inputs, mask = batch(40), random.integers(0, 2, 40).astype(np.float32)
    for layer in backbone.towers.output_layers:  # else all records of a child are on one side of its parent
        layer.kernel.assign(random.normal(scale=5, size=layer.kernel.shape))
    p = oracles.sigmoid(oracles.aitm(oracle(backbone), inputs, len(chosen), parents=parents))
    above = np.stack([p[:, k] - p[:, parent] for k, parent in enumerate(parents) if parent is not None])
    assert (above > 0).any()
    assert (above < 0).any()
    expected = 0.6 * (mask * np.maximum(above, 0).sum(axis=0)).sum() / mask.sum() / len(chosen)
    logits, loss = backbone.logits_and_loss(inputs, tf.zeros((40, len(chosen))), tf.constant(mask))
    np.testing.assert_array_equal(logits, backbone(inputs))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert backbone.logits_and_loss(inputs, None, tf.zeros(40))[1] == 0


def test_calibrator_lowers_the_child_and_raises_the_parent_where_they_disagree(spec, tasks, batch, small):
    backbone = AITM(spec, tasks(2), **{**small, "dropout": 0.0})
    backbone.build()
    parent, child = (layer.bias for layer in backbone.towers.output_layers)
    parent.assign([-1.0]), child.assign([1.0])
    with tf.GradientTape() as tape:
        logits, loss = backbone.logits_and_loss(batch(30), None, tf.ones(30))
    assert (logits[:, 1] > logits[:, 0]).numpy().all()
    gradients = tape.gradient(loss, [parent, child])
    assert gradients[0] < 0 < gradients[1]
    parent.assign([1.0]), child.assign([-1.0])
    assert backbone.logits_and_loss(batch(30), None, tf.ones(30))[1] == 0


def test_without_a_calibrator_there_is_no_loss_of_its_own(spec, tasks, batch, small):
    for alone in (AITM(spec, tasks(2), calibrator_weight=0.0, **small), AITM(spec, tasks(1), **small)):
        assert not hasattr(alone, "logits_and_loss")
        assert alone.get_config()["calibrator_weight"] == alone.calibrator_weight
    assert hasattr(AITM(spec, tasks(2), **small), "logits_and_loss")


def test_a_gradient_method_accepts_the_model_without_its_calibrator(spec, tasks, small):
    with pytest.raises(UserError, match="loss of its own"):
        Agent(AITM(spec, tasks(2), **small), MGDA(), ["click", "cart"])
    Agent(AITM(spec, tasks(2), calibrator_weight=0.0, **small), MGDA(), ["click", "cart"])


def test_empty_bottom_passes_on_the_state(spec, tasks, batch, small):
    backbone = AITM(spec, tasks(2), **{**small, "bottom": ()})
    assert backbone(batch()).shape == (6, 2)
    assert backbone.attention.width == backbone.embedding.state_width


def test_tasks_without_links_are_refused(spec, tasks, small):
    with pytest.raises(UserError, match="AITM: expected a task with a parent"):
        AITM(spec, tasks(2, chain=False), **small)


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = AITM(spec, [Task("click"), Task("buy", "click")])
    backbone.build()
    bottom = (7 * 128 * 512 + 512) + (512 * 256 + 256)
    transfer, attention = 256 * 256 + 256, 3 * 256 * 256
    tower = (256 * 128 + 128) + (128 * 64 + 64) + (64 + 1)
    expected = 7 * 1000 * 128 + 2 * (bottom + tower) + transfer + attention
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected
