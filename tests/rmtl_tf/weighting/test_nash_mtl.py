"""Nash-MTL against a general solver and against the condition of the paper itself."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize

from rmtl_tf.weighting import NashMTL
from rmtl_tf.weighting.nash_mtl import nash_bargain

tasks = pytest.mark.parametrize("num_tasks", [1, 2, 3, 5])
seeds = pytest.mark.parametrize("seed", range(4))


def gradients_of(num_tasks, seed, width=8, shift=0.3):
    random = np.random.default_rng(seed)
    return random.gamma(1.0, 2.0, (num_tasks, 1)) * (random.normal(size=(num_tasks, width)) + shift)


def oracle(gram):
    """argmin of a . G a / 2 - sum log a in x = log a, by a general solver."""
    gram = gram / np.linalg.norm(gram)

    def objective(x):
        a = np.exp(x)
        return a @ gram @ a / 2 - x.sum(), a * (gram @ a) - 1

    start = -np.log(np.diag(gram)) / 2
    return np.exp(minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-10}).x)


def combine(method, gradients, state=None):
    gradients = np.asarray(gradients, np.float64)
    gram = tf.constant(gradients @ gradients.T, tf.float32)
    state = method.init(len(gradients)) if state is None else state
    weights, state = method.combine(gram, tf.ones(len(gradients)), state)
    return weights.numpy().astype(np.float64), state


@tasks
@seeds
def test_weights_are_the_minimum_a_general_solver_finds(num_tasks, seed):
    gradients = gradients_of(num_tasks, seed)
    weights, _ = combine(NashMTL(max_norm=None), gradients)
    np.testing.assert_allclose(weights * num_tasks, oracle(gradients @ gradients.T), rtol=2e-3)


@tasks
@seeds
def test_every_tasks_gain_is_the_inverse_of_its_weight(num_tasks, seed):
    """g_k . d = 1 / a_k with all a above 0: eq. 3 of the paper, on the normalised Gram matrix."""
    gradients = gradients_of(num_tasks, seed)
    gram = gradients @ gradients.T
    a = nash_bargain(tf.constant(gram)).numpy()
    assert (a > 0).all()
    np.testing.assert_allclose(gram / np.linalg.norm(gram) @ a, 1 / a, rtol=1e-4)


def test_no_direction_of_the_same_length_has_a_larger_product_of_gains():
    gradients = gradients_of(3, 5)
    direction = combine(NashMTL(max_norm=None), gradients)[0] @ gradients
    random = np.random.default_rng(0).normal(size=(4000, gradients.shape[1]))
    others = direction + 0.3 * random
    others *= np.linalg.norm(direction) / np.linalg.norm(others, axis=1, keepdims=True)
    gains = others @ gradients.T
    product = np.where((gains > 0).all(axis=1), np.prod(gains, axis=1), 0)
    assert product.max() > 0
    assert product.max() <= np.prod(gradients @ direction)


def test_scaling_one_tasks_loss_does_not_turn_the_step():
    gradients = gradients_of(3, 1)
    before = combine(NashMTL(max_norm=None), gradients)[0] @ gradients
    scaled = gradients * [[10.0], [1.0], [0.1]]
    after = combine(NashMTL(max_norm=None), scaled)[0] @ scaled
    cosine = before @ after / (np.linalg.norm(before) * np.linalg.norm(after))
    assert cosine == pytest.approx(1, abs=1e-3)


def test_orthogonal_unit_gradients_have_the_closed_form():
    weights, _ = combine(NashMTL(max_norm=None), np.eye(4))
    np.testing.assert_allclose(weights, 4**0.25 / 4, rtol=1e-5)  # G / |G| = I / 2: a^2 / 2 = 1


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e6])
def test_the_summed_gradient_is_no_longer_than_max_norm_and_keeps_its_direction(max_norm):
    gradients = gradients_of(3, 2)
    free = combine(NashMTL(max_norm=None), gradients)[0] @ gradients * 3
    step = combine(NashMTL(max_norm=max_norm), gradients)[0] @ gradients * 3
    expected = free * min(1, max_norm / np.linalg.norm(free))
    np.testing.assert_allclose(step, expected, rtol=1e-4, atol=1e-7)


def test_weights_are_kept_between_updates():
    method, state = NashMTL(update_every=3, max_norm=None), None
    found = []
    for batch in range(7):
        weights, state = combine(method, gradients_of(2, batch), state)
        found.append(weights)
    fresh = [combine(NashMTL(max_norm=None), gradients_of(2, batch))[0] for batch in range(7)]
    for batch in range(7):
        np.testing.assert_array_equal(found[batch], fresh[batch // 3 * 3])


def test_a_task_without_gradient_changes_nothing_for_the_others():
    gradients = gradients_of(2, 3)
    two, _ = combine(NashMTL(max_norm=None), gradients)
    three, _ = combine(NashMTL(max_norm=None), np.vstack([gradients[:1], 0 * gradients[:1], gradients[1:]]))
    np.testing.assert_allclose(three[[0, 2]] * 3, two * 2, rtol=1e-6)
    assert three[1] == pytest.approx(1 / 3)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_gradients_that_cancel_end_in_a_step_of_almost_nothing(factor):
    g = np.array([1.0, 2.0, -1.0])
    weights, _ = combine(NashMTL(max_norm=None), [g, -factor * g])
    assert (weights > 0).all()
    assert np.linalg.norm(weights @ [g, -factor * g]) < 0.1 * np.linalg.norm(g)
