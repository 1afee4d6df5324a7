"""TD3+BC: clipped double Q, target smoothing, delayed updates and the loss, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.rmtl_tf.rl.actor_critics import (
    PROCESS,
    TabularRun,
    batch_of,
    make_agent,
    reward,
    same,
    sigmoid,
    values_of,
)


def test_the_actor_leaves_a_wrong_behaviour_for_the_known_best_actions():
    """The behaviour's predictions are off by 0.14 on average; the policy ends at less than half of it."""
    rates = {"learning_rate": 2e-3, "critic_learning_rate": 1e-2, "tau": 0.05}
    run = TabularRun("td3_bc", 0.5, behaviour_noise=0.4, **rates)
    wrong = np.abs(run.behaviour - PROCESS.probability).mean()
    run.train(epochs=10)
    assert run.error() < 0.45 * wrong
    assert run.value_error() < 0.15


def test_without_q_the_actor_imitates_the_behaviour():
    run = TabularRun("td3_bc", 0.5, learning_rate=1e-2, alpha=0.0)
    run.train(epochs=5, sessions=1500, batch=256)
    assert np.abs(run.policy() - run.behaviour).mean() < 0.03


def test_the_loss_is_minus_lambda_q1_plus_the_squared_distance(table):
    agent, networks = make_agent("td3_bc", alpha=1.7)
    batch, _ = batch_of(table)
    real = batch["mask"].numpy() > 0
    logits = networks.actor(batch["features"])
    actions, behaviour = sigmoid(logits)[real], sigmoid(batch["frozen_logits"])[real]
    first, second = (twin(batch["features"], tf.sigmoid(logits)).numpy() for twin in networks.critic.twins)
    assert not np.allclose(first, second)
    q = first[real]
    scale = 1.7 / np.abs(q).mean(axis=0)
    expected = (-scale * q + (actions - behaviour) ** 2).mean()
    np.testing.assert_allclose(agent.actor_loss(batch, logits), expected, rtol=1e-5)


def test_no_gradient_flows_through_lambda(table):
    """With lambda a number, the slope in the logits is that of the loss written out."""
    agent, networks = make_agent("td3_bc")
    batch, _ = batch_of(table)
    weight = (batch["mask"] / tf.reduce_sum(batch["mask"]))[:, None] / 2
    logits = networks.actor(batch["features"])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        loss = agent.actor_loss(batch, logits)
        actions = tf.sigmoid(logits)
        q = networks.critic.twins[0](batch["features"], actions)
        real = batch["mask"].numpy() > 0
        scale = 2.5 / np.abs(q.numpy()[real]).mean(axis=0)
        distance = (actions - tf.sigmoid(batch["frozen_logits"])) ** 2
        written = tf.reduce_sum(weight * (-scale * q + distance))
    np.testing.assert_allclose(tape.gradient(loss, logits), tape.gradient(written, logits), atol=1e-7)


def test_targets_are_the_reward_and_the_lower_target_critic(table):
    agent, networks = make_agent("td3_bc", policy_noise=0.0)
    networks.target_actor.set_weights([w * 0.7 for w in networks.target_actor.get_weights()])
    batch, rows = batch_of(table)
    following = sigmoid(networks.target_actor(table.features)).astype(np.float32)
    twins = [twin(table.features, following).numpy() for twin in networks.target_critic.twins]
    assert (twins[0] < twins[1]).any()
    assert (twins[0] > twins[1]).any()
    actions = np.random.default_rng(0).uniform(0.1, 0.9, (len(rows), 2)).astype(np.float32)
    targets = agent.targets(batch, tf.constant(actions)).numpy()
    for place, row in enumerate(rows):
        if row >= 0 and not table.lookahead[row]:
            expected = reward(table.labels[row], actions[place])
            if not table.done[row]:
                expected = expected + 0.9 * np.minimum(*twins)[row + 1]
            np.testing.assert_allclose(targets[place], expected, rtol=1e-4)


def test_target_smoothing_is_gaussian_clipped_at_the_bound_and_to_the_range():
    agent, _ = make_agent("td3_bc")
    smoothed = agent.disturb(tf.fill((20_000, 2), 0.5), 0.4, clip=0.5).numpy() - 0.5
    assert np.abs(smoothed).max() == pytest.approx(0.25)  # 0.5 half widths
    assert (np.abs(smoothed) > 0.2499).mean() == pytest.approx(0.211, abs=0.02)  # P(|N(0, 0.2)| > 0.25)
    at_the_edge = agent.disturb(tf.fill((1000, 2), 0.01), 0.4, clip=0.5).numpy()
    assert at_the_edge.min() == 0
    assert at_the_edge.max() <= 0.26 + 1e-6


def test_smoothing_reaches_the_targets(table):
    batch, _ = batch_of(table)
    actions = tf.fill(batch["labels"].shape, 0.5)
    plain, _ = make_agent("td3_bc", policy_noise=0.0)
    noisy, _ = make_agent("td3_bc", policy_noise=0.4)
    ends = (batch["done"].numpy() > 0)[:, None]
    differ = plain.targets(batch, actions).numpy() != noisy.targets(batch, actions).numpy()
    assert differ[(batch["mask"].numpy() > 0) & ~ends[:, 0]].any()
    assert not differ[ends[:, 0]].any()


def test_actor_and_targets_move_only_every_policy_delay_steps(table):
    agent, networks = make_agent("td3_bc", policy_delay=3, tau=0.2)
    step = tf.function(agent.train_step)
    batch, _ = batch_of(table)
    slow = [networks.actor, networks.target_actor, networks.target_critic]
    for number in range(1, 7):
        before, critic = values_of(slow), values_of([networks.critic])
        online = values_of([networks.target_critic])
        step(batch)
        assert same(before, values_of(slow)) == (number % 3 != 0)
        assert not same(critic, values_of([networks.critic]))
    for old, new, source in zip(
        online, values_of([networks.target_critic]), values_of([networks.critic]), strict=True
    ):
        np.testing.assert_allclose(new, 0.8 * old + 0.2 * source, rtol=1e-5, atol=1e-7)


def test_the_actors_step_leaves_the_critics_alone(table):
    agent, networks = make_agent("td3_bc", policy_delay=1)
    agent.critic_optimizer.apply = lambda gradients, variables: None
    agent.critic_optimizer.iterations.assign(1)
    actor, critic = values_of([networks.actor]), values_of([networks.critic])
    agent.train_step(batch_of(table)[0])
    assert same(critic, values_of([networks.critic]))
    assert not same(actor, values_of([networks.actor]))
