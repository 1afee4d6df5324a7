from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.rl.mdp import (
    action_rewards,
    cross_entropy,
    discounted_returns,
    rewards,
    soft_update,
    td_targets,
)


def numpy_rewards(labels, probabilities):
    return labels * np.log(probabilities) + (1 - labels) * np.log(1 - probabilities)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(-8, 8)), min_size=1, max_size=20))
def test_reward_is_the_log_likelihood_of_the_label(pairs):
    labels = np.array([[y] for y, _ in pairs], np.float32)
    logits = np.array([[z] for _, z in pairs], np.float32)
    expected = numpy_rewards(labels.astype(float), 1 / (1 + np.exp(-logits.astype(float))))
    np.testing.assert_allclose(rewards(labels, logits), expected, rtol=2e-4, atol=1e-6)


def test_reward_is_finite_and_not_positive_at_extreme_logits():
    values = rewards(np.array([[0.0], [1.0]]), np.array([[1e4], [-1e4]])).numpy()
    assert np.isfinite(values).all()
    assert (values <= 0).all()
    assert (cross_entropy(np.zeros((1, 1)), np.full((1, 1), -1e4)).numpy() >= 0).all()


def test_td_target_bootstraps_only_inside_the_session():
    reward = tf.constant([[-1.0, -2.0], [-3.0, -4.0]])
    following = tf.constant([[-10.0, -20.0], [-30.0, -40.0]])
    targets = td_targets(reward, following, tf.constant([0.0, 1.0]), gamma=0.9)
    np.testing.assert_allclose(targets, [[-1 - 9.0, -2 - 18.0], [-3.0, -4.0]], rtol=1e-6)


def test_soft_update_is_a_convex_combination():
    target, online = [tf.Variable([1.0, 3.0])], [tf.Variable([5.0, -1.0])]
    soft_update(target, online, beta=0.2)
    np.testing.assert_allclose(target[0], [1.0 * 0.8 + 5.0 * 0.2, 3.0 * 0.8 - 1.0 * 0.2], rtol=1e-6)
    np.testing.assert_array_equal(online[0], [5.0, -1.0])
    soft_update(target, online, beta=1.0)
    np.testing.assert_array_equal(target[0], online[0])


def test_soft_update_refuses_networks_of_different_size():
    with pytest.raises(ValueError):
        soft_update([tf.Variable(1.0)], [tf.Variable(1.0), tf.Variable(2.0)], 0.2)


def loop_returns(reward, session, gamma):
    """Backward loop over one record at a time, sessions by number, no look-ahead rows."""
    returns = np.zeros_like(reward)
    for t in reversed(range(len(reward))):
        follows = t + 1 < len(reward) and session[t + 1] == session[t]
        returns[t] = reward[t] + (gamma * returns[t + 1] if follows else 0)
    return returns


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    gamma=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    seed=st.integers(0, 100),
)
def test_monte_carlo_return_equals_a_loop(lengths, gamma, seed):
    session = np.repeat(np.arange(len(lengths)), lengths)
    reward = -np.random.default_rng(seed).random((len(session), 2))
    done = np.append(session[1:] != session[:-1], True)
    got = discounted_returns(reward, done, np.zeros(len(session), bool), gamma)
    np.testing.assert_allclose(got, loop_returns(reward, session, gamma), rtol=1e-12)


@settings(deadline=None, max_examples=40)
@given(length=st.integers(3, 30), window=st.integers(2, 6), gamma=st.sampled_from([0.5, 0.95]))
def test_return_of_a_cut_session_equals_that_of_the_whole(length, window, gamma):
    reward = -np.random.default_rng(length).random((length, 1))
    rows, lookahead = [], []
    for start in range(0, length, window):
        stop = min(start + window, length)
        rows += range(start, stop)
        lookahead += [False] * (stop - start)
        if stop < length:
            rows.append(stop)
            lookahead.append(True)
    done = np.zeros(len(rows), bool)
    done[-1] = True
    got = discounted_returns(reward[rows], done, np.array(lookahead), gamma)
    whole = loop_returns(reward, np.zeros(length), gamma)
    np.testing.assert_allclose(got, whole[rows], rtol=1e-12)


def test_the_reward_of_any_action_is_that_of_a_logit_where_the_action_is_a_prediction():
    logits = np.float32([[-3.0, 0.2], [2.0, -0.7], [0.0, 5.0]])
    labels = np.float32([[1, 0], [0, 1], [1, 0]])
    actions = 1 / (1 + np.exp(-logits))
    got = action_rewards(labels, actions)
    np.testing.assert_allclose(got, rewards(labels, logits), rtol=1e-5)
    np.testing.assert_allclose(got, numpy_rewards(labels, actions), rtol=1e-5)
