"""Weightings with one weight a task and a memory, over many batches, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.config import WeightingConfig
from rmtl_tf.weighting import (
    DWA,
    FAMO,
    LOSS_WEIGHTINGS,
    RLW,
    STCH,
    WEIGHTINGS,
    Uncertainty,
    build_weighting,
)
from rmtl_tf.weighting.base import Context, TaskLevel, task_means

tasks = pytest.mark.parametrize("num_tasks", [1, 2, 4])
TASK_LEVEL = ("uncertainty", "rlw", "dwa", "famo", "stch")


def batches(num_tasks, count=12, seed=0):
    """Losses [count, N, K] and masks [count, N]; masked rows hold values nobody may look at."""
    random = np.random.default_rng(seed)
    losses = random.gamma(2.0, 0.3, (count, 6, num_tasks)).astype(np.float32)
    masks = (random.random((count, 6)) < 0.7).astype(np.float32)
    masks[:, 0] = 1
    losses[masks == 0] = np.nan
    return losses, masks


def run(weighting, losses, masks):
    """Weights [count, K], after a check that all records of a task have the same."""
    state, result = weighting.init(losses.shape[2]), []
    for values, mask in zip(losses, masks, strict=True):
        omega, state = weighting.update(tf.constant(values), Context(mask=tf.constant(mask)), state)
        np.testing.assert_array_equal(omega, np.repeat(omega[:1], len(values), axis=0))
        result.append(omega[0].numpy())
    return np.array(result)


def means(losses, masks):
    return np.array(
        [values[mask > 0].mean(axis=0) for values, mask in zip(losses, masks, strict=True)], float
    )


def softmax(x):
    exponent = np.exp(x - x.max())
    return exponent / exponent.sum()


@tasks
def test_task_means_are_over_valid_rows(num_tasks):
    losses, masks = batches(num_tasks)
    for values, mask in zip(losses, masks, strict=True):
        expected = values[mask > 0].mean(axis=0)
        np.testing.assert_allclose(task_means(tf.constant(values), tf.constant(mask)), expected, rtol=1e-6)
    np.testing.assert_array_equal(task_means(tf.ones((3, num_tasks)), tf.zeros(3)), np.zeros(num_tasks))
    np.testing.assert_array_equal(task_means(tf.ones((3, num_tasks)), None), np.ones(num_tasks))


@tasks
def test_uncertainty_follows_gradient_descent_on_its_objective(num_tasks):
    losses, masks = batches(num_tasks)
    s, expected = np.zeros(num_tasks), []
    for mean in means(losses, masks):
        expected.append(np.exp(-s))
        ahead, behind = (np.exp(-x) * mean + x for x in (s + 1e-6, s - 1e-6))
        s = s - 0.1 * (ahead - behind) / 2e-6
    np.testing.assert_allclose(run(Uncertainty(rate=0.1), losses, masks), expected, rtol=1e-5)


def test_uncertainty_weights_settle_at_one_over_the_loss():
    losses = np.tile(np.float32([0.05, 2.0]), (600, 4, 1))
    weights = run(Uncertainty(rate=0.05), losses, np.ones((600, 4), np.float32))
    np.testing.assert_allclose(weights[-1], [20, 0.5], rtol=1e-2)


@tasks
def test_rlw_weights_are_a_new_softmax_of_normals_every_batch(num_tasks):
    losses, masks = batches(num_tasks, count=400)
    weights = run(RLW(seed=3), losses, masks)
    np.testing.assert_allclose(weights.sum(axis=1), num_tasks, rtol=1e-5)
    np.testing.assert_array_equal(weights, run(RLW(seed=3), losses, masks))
    if num_tasks == 1:
        np.testing.assert_array_equal(weights, np.ones((400, 1)))
        return
    assert len(np.unique(weights[:, 0])) == 400
    assert (weights != run(RLW(seed=4), losses, masks)).any()
    # ln w_i - ln w_j is a difference of two standard normals.
    difference = np.log(weights[:, 0]) - np.log(weights[:, 1])
    assert abs(difference.mean()) < 4 * np.sqrt(2 / 400)
    assert difference.std() == pytest.approx(np.sqrt(2), rel=0.15)


@tasks
def test_dwa_weighs_by_the_ratio_of_window_means(num_tasks):
    losses, masks = batches(num_tasks)
    mean = means(losses, masks).reshape(4, 3, num_tasks).mean(axis=1)
    expected = [np.ones(num_tasks)] * 2
    expected += [num_tasks * softmax(mean[t - 1] / mean[t - 2] / 1.5) for t in (2, 3)]
    actual = run(DWA(window=3, softness=1.5), losses, masks)
    np.testing.assert_allclose(actual, np.repeat(expected, 3, axis=0), rtol=1e-5)


@tasks
def test_famo_follows_its_algorithm_with_the_next_batch_as_the_loss_after_the_step(num_tasks):
    losses, masks = batches(num_tasks)
    xi, before, expected = np.zeros(num_tasks), None, []
    for mean in means(losses, masks):
        if before is not None:
            z = softmax(xi)
            jacobian = np.diag(z) - np.outer(z, z)
            xi = xi - 0.5 * (jacobian @ (np.log(before) - np.log(mean)) + 0.01 * xi)
        z = softmax(xi)
        expected.append(num_tasks / (z / mean).sum() * z / mean)
        before = mean
    np.testing.assert_allclose(run(FAMO(rate=0.5, decay=0.01), losses, masks), expected, rtol=1e-5)


def test_famo_gives_the_task_that_does_not_improve_more_weight():
    steps = np.arange(50, dtype=np.float32)
    losses = np.stack([np.exp(-0.1 * steps), np.ones(50, np.float32)], axis=1)[:, np.newaxis]
    weights = run(FAMO(rate=0.1), losses, np.ones((50, 1), np.float32))
    shares = weights * losses[:, 0]
    assert shares[-1, 1] > 1.2 * shares[-1, 0]


@tasks
def test_stch_weights_are_the_gradient_of_the_smooth_maximum(num_tasks):
    losses, masks = batches(num_tasks)
    mean = means(losses, masks)
    scale = mean[:4].mean(axis=0)

    def objective(values):
        return 0.5 * np.log(np.exp(np.log(values / scale) / 0.5).sum())

    expected = list(1 / mean[:4])
    for values in mean[4:]:
        steps = 1e-6 * np.eye(num_tasks)
        gradient = [(objective(values + step) - objective(values - step)) / 2e-6 for step in steps]
        expected.append(num_tasks * np.array(gradient))
    np.testing.assert_allclose(run(STCH(mu=0.5, window=4), losses, masks), expected, rtol=1e-4)


def test_small_mu_leaves_the_worst_task_alone():
    losses = np.float32([[[1.0, 1.0]], [[0.5, 0.6]]])
    weights = run(STCH(mu=0.01, window=1), losses, np.ones((2, 1), np.float32))
    np.testing.assert_allclose(weights[1], [0, 2 / 0.6], atol=1e-6)


def test_every_weighting_of_tasks_is_tested_here():
    assert set(TASK_LEVEL) == {name for name in LOSS_WEIGHTINGS if issubclass(WEIGHTINGS[name], TaskLevel)}


@pytest.mark.parametrize("name", TASK_LEVEL)
@pytest.mark.parametrize("level", [0.0, 1e-30, 1e6])
def test_weights_and_state_stay_finite_for_extreme_losses(name, level):
    weighting = build_weighting(WeightingConfig(name=name, window=2, rate=1.0))
    state = weighting.init(3)
    for batch in range(40):
        losses = tf.constant([[level, 0.5, level * (batch % 2)]] * 2, tf.float32)
        mask = tf.constant([1.0, 0.0]) * float(batch % 5 > 0)  # now and then no valid record
        omega, state = weighting.update(losses, Context(mask=mask), state)
        assert np.isfinite(omega).all()
        assert (omega.numpy() >= 0).all()
        assert all(np.isfinite(value).all() for value in state)
