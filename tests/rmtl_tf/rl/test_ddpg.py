"""DDPG: its update equations against numpy, and where it leads on a process whose best actions are known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import ESCM2IPS
from rmtl_tf.config import DDPGConfig
from rmtl_tf.errors import UserError
from rmtl_tf.rl.ddpg import DDPG
from rmtl_tf.schema import Task
from tests.conftest import small_spec
from tests.rmtl_tf.rl.actor_critics import (
    PROCESS,
    TabularRun,
    batch_of,
    make_agent,
    make_networks,
    reward,
    same,
    sigmoid,
    values_of,
)


def real_rows(table, rows):
    return [(place, row) for place, row in enumerate(rows) if row >= 0 and not table.lookahead[row]]


def test_the_actor_is_the_best_response_on_a_process_whose_probabilities_are_known():
    """The action that maximises Q is p_k(s): the policy comes from a mean error of 0.18 to less than 0.07."""
    rates = {"learning_rate": 2e-3, "critic_learning_rate": 1e-2}
    run = TabularRun("ddpg", gamma=0.5, noise=0.4, tau=0.05, **rates)
    before = run.error()
    run.train(epochs=10)
    assert run.error() < 0.4 * before
    assert np.corrcoef(run.policy().ravel(), PROCESS.probability.ravel())[0, 1] > 0.97
    assert run.value_error() < 0.15


def test_critic_targets_are_the_reward_of_the_noisy_action_and_the_target_networks_value(table):
    agent, networks = make_agent("ddpg", noise=0.0, critic_learning_rate=1e-9, learning_rate=1e-9)
    batch, rows = batch_of(table)
    networks.target_critic.set_weights([w * 0.7 for w in networks.target_critic.get_weights()])
    networks.target_actor.set_weights([w * 0.7 for w in networks.target_actor.get_weights()])
    actions = np.clip(sigmoid(networks.actor(table.features)), 1e-3, 1 - 1e-3)
    q = networks.critic(table.features, actions.astype(np.float32)).numpy()
    following = sigmoid(networks.target_actor(table.features)).astype(np.float32)
    values = networks.target_critic(table.features, following).numpy()
    errors = []
    for _, row in real_rows(table, rows):
        target = reward(table.labels[row], actions[row])
        if not table.done[row]:
            target = target + 0.9 * values[row + 1]
        errors.append((target - q[row]) ** 2)
    logs = agent.train_step(batch)
    np.testing.assert_allclose(logs["critic/loss"], np.mean(errors), rtol=1e-4)
    np.testing.assert_allclose(logs["critic/loss/buy"], np.mean(errors, axis=0)[1], rtol=1e-4)


def test_the_actors_step_is_the_chain_rule_through_the_critic(table):
    """grad_theta J = mean of dQ_k/da_k a_k (1 - a_k) dlogit_k/dtheta; dQ/da by finite differences of Q."""
    agent, networks = make_agent("ddpg", critic_learning_rate=1e-12)
    batch, _ = batch_of(table)
    mask = batch["mask"].numpy()
    actions = sigmoid(networks.actor(batch["features"]))
    step = 1e-3
    slopes = np.zeros_like(actions)
    for k in range(2):
        moved = [actions.copy(), actions.copy()]
        moved[0][:, k] += step
        moved[1][:, k] -= step
        high, low = (networks.critic(batch["features"], a.astype(np.float32)).numpy() for a in moved)
        slopes[:, k] = (high - low)[:, k] / (2 * step)
    weight = -mask[:, None] * slopes * actions * (1 - actions) / (mask.sum() * 2)
    with tf.GradientTape() as tape:
        logits = networks.actor(batch["features"], training=True)
        surrogate = tf.reduce_sum(tf.constant(weight, tf.float32) * logits)
    variables = networks.actor.trainable_variables
    expected = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(surrogate, variables)]
    seen = []
    agent.optimizer.apply = lambda gradients, variables: seen.extend(gradients)
    agent.train_step(batch)
    scale = max(np.abs(value).max() for value in expected)
    for got, value in zip(seen, expected, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(got), value, atol=0.02 * scale)


def test_padding_and_lookahead_rows_change_no_step(table):
    results = []
    for flip in (False, True):
        agent, networks = make_agent("ddpg")
        batch, _ = batch_of(table)
        hidden = batch["mask"].numpy() == 0
        assert hidden.any()
        labels = batch["labels"].numpy()
        labels[hidden] = 1 - labels[hidden] if flip else labels[hidden]
        agent.train_step({**batch, "labels": tf.constant(labels)})
        results.append(values_of(networks))
    assert same(*results)


def test_actor_and_critic_each_learn_by_their_own_step_alone(table):
    agent, networks = make_agent("ddpg", critic_learning_rate=1e-2)
    batch, _ = batch_of(table)
    actor, critic = values_of([networks.actor]), values_of([networks.critic])
    agent.optimizer.apply = lambda gradients, variables: None
    agent.train_step(batch)
    assert same(actor, values_of([networks.actor]))
    assert not same(critic, values_of([networks.critic]))
    agent, networks = make_agent("ddpg")
    critic = values_of([networks.critic])
    agent.critic_optimizer.apply = lambda gradients, variables: None
    agent.train_step(batch)
    assert not same(actor, values_of([networks.actor]))
    assert same(critic, values_of([networks.critic]))


def test_both_targets_start_as_copies_and_follow_softly(table):
    agent, networks = make_agent("ddpg", tau=0.25)
    targets = [networks.target_actor, networks.target_critic]
    online = [networks.actor, networks.critic]
    before = values_of(targets)
    assert same(before, values_of(online))
    agent.train_step(batch_of(table)[0])
    for old, new, source in zip(before, values_of(targets), values_of(online), strict=True):
        np.testing.assert_allclose(new, 0.75 * old + 0.25 * source, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("noise", [0.2, 2.0])
def test_exploring_actions_have_the_noise_asked_for_and_stay_inside_the_margin(noise):
    agent, _ = make_agent("ddpg", noise=noise)
    actions = tf.fill((20_000, 2), 0.5)
    explored = agent.disturb(actions, noise, margin=0.01).numpy()
    assert explored.min() >= 0.01
    assert explored.max() <= 0.99
    if noise == 0.2:
        np.testing.assert_allclose((explored - 0.5).std(), 0.1, rtol=0.02)
        assert (agent.disturb(actions, noise).numpy() != explored).any()
    else:
        assert (explored == np.float32(0.01)).mean() > 0.2


def test_a_backbone_with_a_loss_of_its_own_is_refused():
    networks, config = make_networks()
    backbone = ESCM2IPS(small_spec(), (Task("click"), Task("buy", parent="click")), embedding_dim=4)
    with pytest.raises(UserError, match=r"ddpg.*ESCM2IPS.*Choose another backbone"):
        DDPG(networks._replace(actor=backbone), ["click", "buy"], DDPGConfig(), config)
