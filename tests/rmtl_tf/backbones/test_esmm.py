"""Tests of `ESMM`."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.backbones import ESMM
from rmtl_tf.backbones.esmm import product_logit
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones import oracles
from tests.rmtl_tf.backbones.oracles import sigmoid


def test_tasks_without_parents_are_separate_networks(spec, tasks, batch, oracle, small):
    backbone = ESMM(spec, tasks(3, chain=False), **small)
    backbone.build()
    expected = oracles.esmm(oracle(backbone), batch(), 3, parents=(None, None, None))
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-4, atol=1e-5)


def test_two_children_of_one_parent(spec, batch, oracle, small):
    tasks = [Task("click"), Task("like", "click"), Task("view"), Task("buy", "click")]
    backbone = ESMM(spec, tasks, **small)
    backbone.build()
    expected = oracles.esmm(oracle(backbone), batch(), 4, parents=(None, 0, None, 0))
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-4, atol=1e-5)


def test_child_is_never_more_likely_than_its_parent(spec, tasks, batch, small):
    logits = ESMM(spec, tasks(3), **small)(batch(200)).numpy()
    assert (np.diff(logits, axis=1) <= 0).all()


@settings(deadline=None, max_examples=50)
@given(st.floats(-30, 30), st.floats(-30, 30))
def test_product_logit_equals_the_formula_in_probabilities(a, b):
    p, q = sigmoid(a), sigmoid(b)
    rest = sigmoid(-a) + p * sigmoid(-b)  # 1 - pq without cancellation
    expected = np.log(p) + np.log(q) - np.log(rest)
    actual = product_logit(tf.constant(a, tf.float64), tf.constant(b, tf.float64))
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.floats(-8, 8), st.floats(-8, 8))
def test_gradient_of_product_logit_equals_finite_differences(a, b):
    x = tf.constant([a, b], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = product_logit(x[0], x[1])
    step = 1e-5
    numeric = [
        (product_logit(*(x + d)) - product_logit(*(x - d))).numpy() / (2 * step)
        for d in ([step, 0.0], [0.0, step])
    ]
    np.testing.assert_allclose(tape.gradient(y, x), numeric, rtol=1e-4, atol=1e-6)


EXTREME = [-1e30, -1e4, -104.0, -20.0, 0.0, 20.0, 104.0, 1e4, 1e30]


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_value_and_gradient_of_the_loss_are_finite_for_extreme_logits(label):
    grid = tf.constant([[a, b] for a in EXTREME for b in EXTREME], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(grid)
        logit = product_logit(grid[:, 0], grid[:, 1])
        loss = tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(logit.shape, label), logit)
    assert np.isfinite(logit).all()
    assert np.isfinite(loss).all()
    gradient = tape.gradient(loss, grid).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() <= 1


def test_certain_parent_leaves_the_child_its_own_logit():
    z = tf.constant([-5.0, 0.0, 5.0])
    np.testing.assert_allclose(product_logit(tf.fill([3], 200.0), z), z, rtol=1e-6)


@pytest.mark.parametrize(
    "tasks",
    [[Task("buy", "click"), Task("click")], [Task("click", "click")], [Task("click"), Task("buy", "klick")]],
)
def test_parent_that_does_not_stand_before_its_child_is_refused(tasks, spec, small):
    with pytest.raises(UserError, match="must stand before"):
        ESMM(spec, tasks, **small)
