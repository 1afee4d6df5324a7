"""The combination rule of every gradient method against numpy on the gradients themselves."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize

from rmtl_tf.config import WeightingConfig
from rmtl_tf.weighting import (
    GRADIENT_METHODS,
    IMTLG,
    MGDA,
    WEIGHTINGS,
    CAGrad,
    GradNorm,
    PCGrad,
    build_weighting,
)
from rmtl_tf.weighting.base import Context

tasks = pytest.mark.parametrize("num_tasks", [1, 2, 4])
seeds = pytest.mark.parametrize("seed", range(5))
methods = pytest.mark.parametrize("name", GRADIENT_METHODS)


def gradients_of(num_tasks, seed, width=6, shift=0.0):
    """Gradients [K, P] of unlike lengths; with `shift` 0 some conflict."""
    random = np.random.default_rng(seed)
    scale = random.gamma(1.0, 2.0, (num_tasks, 1)) + 0.1
    return scale * (random.normal(size=(num_tasks, width)) + shift)


def weights_of(method, gradients, losses=None, state=None):
    gradients = np.asarray(gradients, np.float64)
    gram = tf.constant(gradients @ gradients.T, tf.float32)
    losses = tf.ones(len(gradients)) if losses is None else tf.constant(losses, tf.float32)
    weights, _ = method.combine(gram, losses, method.init(len(gradients)) if state is None else state)
    assert weights.dtype == tf.float32
    return weights.numpy().astype(np.float64)


def step_of(method, gradients, **more):
    return weights_of(method, gradients, **more) @ gradients


@tasks
@seeds
def test_pcgrad_projects_every_gradient_in_its_random_order(num_tasks, seed):
    gradients, method = gradients_of(num_tasks, seed), PCGrad(seed=seed)
    orders = method.orders(num_tasks, tf.constant(0, tf.int64)).numpy()
    expected = []
    for i, order in enumerate(orders):
        assert sorted(order) == list(range(num_tasks))
        projected = gradients[i].copy()
        for j in order:
            if j != i and projected @ gradients[j] < 0:
                projected -= (projected @ gradients[j]) / (gradients[j] @ gradients[j]) * gradients[j]
        expected.append(projected)
    np.testing.assert_allclose(step_of(method, gradients), np.mean(expected, axis=0), rtol=1e-4, atol=1e-5)


def test_pcgrad_draws_new_orders_for_every_batch():
    method = PCGrad()
    orders = [method.orders(4, tf.constant(batch, tf.int64)).numpy().tolist() for batch in range(20)]
    assert len({str(order) for order in orders}) > 15
    assert orders[3] == method.orders(4, tf.constant(3, tf.int64)).numpy().tolist()
    assert {tuple(order[0]) for order in orders} > {tuple(orders[0][0])}
    _, state = method.combine(tf.eye(4), tf.ones(4), method.init(4))
    assert int(state[0]) == 1


def shortest(gradients):
    """The weights of the shortest convex combination, by trying every set of tasks."""
    gram, best = gradients @ gradients.T, None
    for size in range(1, len(gram) + 1):
        for chosen in combinations(range(len(gram)), size):
            inner = gram[np.ix_(chosen, chosen)]
            system = np.block([[inner, np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
            solution = np.linalg.lstsq(system, np.r_[np.zeros(size), 1], rcond=None)[0][:size]
            if (solution >= -1e-12).all():
                weights = np.zeros(len(gram))
                weights[list(chosen)] = solution
                if best is None or weights @ gram @ weights < best @ gram @ best - 1e-14:
                    best = weights
    return best


@tasks
@seeds
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_mgda_finds_the_shortest_combination(num_tasks, seed, shift):
    gradients = gradients_of(num_tasks, seed, shift=shift)
    weights = weights_of(MGDA(), gradients)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    expected = shortest(gradients) @ gradients
    np.testing.assert_allclose(weights @ gradients, expected, atol=1e-4 * np.abs(gradients).max())


@given(hnp.arrays(np.float64, (2, 3), elements=st.floats(-4, 4, width=16)))
def test_mgda_is_the_closed_form_for_two_tasks(gradients):
    a, b = gradients
    square = (a - b) @ (a - b)
    share = 0.5 if square == 0 else np.clip((b - a) @ b / square, 0, 1)
    expected = np.linalg.norm(share * a + (1 - share) * b)
    actual = np.linalg.norm(step_of(MGDA(), gradients))
    assert actual == pytest.approx(expected, abs=2e-3)


@tasks
@seeds
@pytest.mark.parametrize("radius", [0.0, 0.4, 0.9])
def test_cagrad_solves_its_dual(num_tasks, seed, radius):
    gradients = gradients_of(num_tasks, seed)
    mean = gradients.mean(axis=0)
    reach = radius * np.linalg.norm(mean)

    def dual(weights):
        combined = weights @ gradients
        return combined @ mean + reach * np.linalg.norm(combined)

    starts = [np.full(num_tasks, 1 / num_tasks), *np.eye(num_tasks)]
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    bounds = [(0, 1)] * num_tasks
    best = min(
        (minimize(dual, start, bounds=bounds, constraints=constraint, tol=1e-12) for start in starts),
        key=lambda result: result.fun,
    )
    combined = best.x @ gradients
    expected = mean + reach * combined / np.linalg.norm(combined)
    actual = step_of(CAGrad(radius), gradients)
    np.testing.assert_allclose(actual, expected, atol=2e-3 * np.abs(gradients).max())
    # The primal: within the ball, no direction has a larger smallest inner product.
    assert np.linalg.norm(actual - mean) <= reach * (1 + 1e-3) + 1e-5
    random = np.random.default_rng(0).normal(size=(500, gradients.shape[1]))
    others = mean + reach * random / np.linalg.norm(random, axis=1, keepdims=True)
    worst = (gradients @ actual).min()
    assert worst >= (gradients @ others.T).min(axis=0).max() - 1e-3 * np.abs(worst) - 1e-4


@tasks
@seeds
def test_imtl_g_is_the_closed_form_of_the_paper(num_tasks, seed):
    gradients = gradients_of(num_tasks, seed, shift=1.0)
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    differences, units = gradients[0] - gradients[1:], unit[0] - unit[1:]
    rest = gradients[0] @ units.T @ np.linalg.inv(differences @ units.T)
    expected = np.r_[1 - rest.sum(), rest]
    assert expected @ gradients @ unit[0] > 0
    actual = weights_of(IMTLG(), gradients)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)
    projections = unit @ (actual @ gradients)
    np.testing.assert_allclose(projections, projections[0], rtol=1e-3)


def test_imtl_g_takes_the_mean_where_its_constraint_points_uphill_for_every_task():
    uphill = 0
    for seed in range(40):
        gradients = gradients_of(3, seed, width=4)
        unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
        solution = np.linalg.solve(unit @ unit.T, np.ones(3)) / np.linalg.norm(gradients, axis=1)
        weights = weights_of(IMTLG(), gradients)
        if solution.sum() < -1e-3 * np.abs(solution).max():
            uphill += 1
            np.testing.assert_allclose(weights, np.full(3, 1 / 3), rtol=1e-6)
        elif solution.sum() > 1e-3 * np.abs(solution).max():
            assert (gradients @ (weights @ gradients) > 0).all()
    assert uphill > 0


@tasks
def test_gradnorm_follows_gradient_descent_on_its_objective(num_tasks):
    random = np.random.default_rng(0)
    method, v = GradNorm(rate=0.05, alpha=1.5), np.ones(num_tasks)
    state, first = method.init(num_tasks), None
    for batch in range(6):
        gradients, losses = gradients_of(num_tasks, batch), random.gamma(2.0, 0.3, num_tasks)
        first = losses if first is None else first
        norms = np.linalg.norm(gradients, axis=1)
        ratio = losses / first
        target = (v * norms).mean() * (ratio / ratio.mean()) ** 1.5
        gram = tf.constant(gradients @ gradients.T, tf.float32)
        weights, state = method.combine(gram, tf.constant(losses, tf.float32), state)
        np.testing.assert_allclose(weights, v / num_tasks, rtol=1e-4)
        steps = 1e-7 * np.eye(num_tasks)
        if num_tasks > 1:  # with one task the objective is 0 and has no slope
            slope = [
                (np.abs((v + s) * norms - target).sum() - np.abs((v - s) * norms - target).sum()) / 2e-7
                for s in steps
            ]
            v = np.maximum(v - 0.05 * np.array(slope), 1e-3)
        v = num_tasks * v / v.sum()


def test_gradnorm_brings_equal_rates_to_equal_norms():
    method, gradients = GradNorm(rate=0.01), np.diag([4.0, 1.0])
    state = method.init(2)
    gram = tf.constant(gradients @ gradients.T, tf.float32)
    for _ in range(200):
        weights, state = method.combine(gram, tf.ones(2), state)
    norms = weights.numpy() * [4, 1]
    assert norms[0] == pytest.approx(norms[1], rel=0.15)


def degenerate(num_tasks):
    g = np.arange(1.0, 6.0)
    signs = np.where(np.arange(num_tasks) % 2, -1.0, 1.0)[:, None]
    yield "equal", np.tile(g, (num_tasks, 1))
    yield "opposite", signs * g
    yield "opposite of unlike length", signs * np.arange(1, num_tasks + 1)[:, None] * g
    yield "zero", np.zeros((num_tasks, 5))
    yield "one zero", np.vstack([g * 0, gradients_of(num_tasks, 0, width=5)[1:]])
    yield "all but one zero", np.vstack([g, np.zeros((num_tasks - 1, 5))])
    yield "tiny", 1e-12 * gradients_of(num_tasks, 1)
    yield "huge", 1e12 * gradients_of(num_tasks, 1)
    yield "almost equal", np.tile(g, (num_tasks, 1)) + 1e-7 * gradients_of(num_tasks, 0, width=5)


@methods
@tasks
def test_degenerate_gradients_give_finite_steps(name, num_tasks):
    method = build_weighting(WeightingConfig(name=name))
    for case, gradients in degenerate(num_tasks):
        state = method.init(num_tasks)
        for losses in (np.ones(num_tasks), np.zeros(num_tasks), np.full(num_tasks, 1e6)):
            gram = tf.constant(gradients @ gradients.T, tf.float32)
            weights, state = method.combine(gram, tf.constant(losses, tf.float32), state)
            assert np.isfinite(weights).all(), case
            assert all(np.isfinite(value).all() for value in state), case
            longest = np.linalg.norm(gradients, axis=1).max()
            assert np.linalg.norm(weights.numpy() @ gradients) <= 2 * num_tasks * longest, case


@methods
@tasks
def test_equal_gradients_give_that_gradient(name, num_tasks):
    gradients = np.tile(np.arange(1.0, 6.0), (num_tasks, 1))
    factor = 1.5 if name == "cagrad" else 1.0  # d = (1 + radius) g_0: every direction is the same
    method = build_weighting(WeightingConfig(name=name, max_norm=None))
    np.testing.assert_allclose(step_of(method, gradients), factor * gradients[0], rtol=1e-5)


@pytest.mark.parametrize("name", ["mgda", "cagrad", "imtl_g", "pcgrad", "nash_mtl"])
def test_opposite_gradients_of_two_tasks_cancel(name):
    gradients = np.array([[1.0, 2.0], [-1.0, -2.0]])
    method = build_weighting(WeightingConfig(name=name))
    np.testing.assert_allclose(step_of(method, gradients), [0, 0], atol=1e-5)


@methods
def test_method_is_the_same_in_a_graph_and_a_weighting_of_ones(name):
    method = WEIGHTINGS[name]()
    gradients = gradients_of(3, 2)
    gram, losses = tf.constant(gradients @ gradients.T, tf.float32), tf.constant([0.5, 0.2, 0.9])
    eager, graph = (
        call(gram, losses, method.init(3)) for call in (method.combine, tf.function(method.combine))
    )
    np.testing.assert_allclose(eager[0], graph[0], rtol=1e-5, atol=1e-6)
    assert [value.dtype for value in graph[1]] == [value.dtype for value in method.init(3)]
    omega, state = method.update(tf.zeros((4, 3)), Context(), method.init(3))
    np.testing.assert_array_equal(omega, np.ones((4, 3)))
    for value, first in zip(state, method.init(3), strict=True):
        np.testing.assert_array_equal(value, first)
