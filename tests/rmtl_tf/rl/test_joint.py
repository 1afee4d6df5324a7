"""Joint training: the critic learns the current actor's value, the actor takes RMTL's weighted steps."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.config import WeightingConfig
from rmtl_tf.optimizers import build_optimizer
from rmtl_tf.rl.agent import Agent
from rmtl_tf.weighting import build_weighting
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

RMTL = build_weighting(WeightingConfig(name="rmtl", lam=0.7))


def test_critic_and_actor_reach_their_closed_forms_together():
    """The critic that of the actor as it became, the actor the labels' probabilities (METHOD 8)."""
    run = TabularRun("joint", 0.9, weighting=RMTL, every=10)
    run.train(epochs=6)
    assert run.error() < 0.03
    assert run.value_error() < 0.06
    still = PROCESS.closed_form_q(np.full_like(PROCESS.probability, 0.5), 0.9)  # the actor it started with
    q = run.networks.critic(run.states, run.policy().astype(np.float32)).numpy()
    assert np.abs(q - still).mean() > 3 * np.abs(q - PROCESS.closed_form_q(run.policy(), 0.9)).mean()


@pytest.mark.parametrize(("every", "sizes"), [(None, [7, 7]), (3, [3, 3, 3, 3, 1, 1]), (9, [7, 7])])
def test_sweeps_alternate_on_the_same_batches(every, sizes):
    agent, _ = make_agent("joint", weighting=RMTL, every=every)
    plan = np.arange(14).reshape(7, 2)
    turns = agent.turns(plan)
    assert [len(part) for _, part in turns] == sizes
    assert {id(model) for model, _ in turns[::2]} == {id(agent.critic_learner)}
    assert {id(model) for model, _ in turns[1::2]} == {id(agent.agent)}
    for parts in (turns[::2], turns[1::2]):
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), plan)


def test_a_sweep_learns_the_current_actions_towards_the_target_networks(table):
    agent, networks = make_agent("joint", weighting=RMTL, gamma=0.8)
    networks.target_actor.set_weights([w * 0.7 for w in networks.target_actor.get_weights()])
    networks.target_critic.set_weights([w * 0.7 for w in networks.target_critic.get_weights()])
    batch, rows = batch_of(table)
    actions = sigmoid(networks.actor(table.features))
    q = networks.critic(table.features, actions.astype(np.float32)).numpy()
    following = sigmoid(networks.target_actor(table.features)).astype(np.float32)
    values = networks.target_critic(table.features, following).numpy()
    errors = []
    for row in rows:
        if row >= 0 and not table.lookahead[row]:
            target = reward(table.labels[row], actions[row])
            target = target if table.done[row] else target + 0.8 * values[row + 1]
            errors.append((target - q[row]) ** 2)
    logs = agent.critic_learner.train_step(batch)
    np.testing.assert_allclose(logs["critic/loss"], np.mean(errors), rtol=1e-4)


def test_a_sweep_changes_no_actor_and_a_weighted_step_no_critic(table):
    agent, networks = make_agent("joint", weighting=RMTL)
    batch, _ = batch_of(table)
    actors, critics = [networks.actor, networks.target_actor], [networks.critic, networks.target_critic]
    before = values_of(actors)
    online, target = values_of(critics[:1]), values_of(critics[1:])
    agent.critic_learner.train_step(batch)
    assert same(before, values_of(actors))
    assert not same(online, values_of(critics[:1]))
    for old, new, source in zip(target, values_of(critics[1:]), values_of(critics[:1]), strict=True):
        np.testing.assert_allclose(new, 0.7 * old + 0.3 * source, rtol=1e-5, atol=1e-7)
    learnt, target = values_of(critics), values_of(actors[1:])
    agent.agent.train_step(batch)
    assert same(learnt, values_of(critics))
    for old, new, source in zip(target, values_of(actors[1:]), values_of(actors[:1]), strict=True):
        np.testing.assert_allclose(new, 0.7 * old + 0.3 * source, rtol=1e-5, atol=1e-7)


def test_the_actors_step_is_rmtls_with_the_critic_as_it_is_now(table):
    agent, networks = make_agent("joint", weighting=RMTL, rate=1e-2)
    batch, _ = batch_of(table)
    for _ in range(3):
        agent.critic_learner.train_step(batch)
    twin, _ = make_networks()
    rmtl = Agent(twin.actor, RMTL, ["click", "buy"], networks.critic)
    rmtl.compile(optimizer=build_optimizer(twin.actor, 1e-2), jit_compile=False)
    expected, got = rmtl.train_step(batch), agent.agent.train_step(batch)
    assert expected["omega_mean/click"] > 1
    for key in expected:
        np.testing.assert_array_equal(got[key], expected[key])
    for a, b in zip(networks.actor.weights, twin.actor.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_networks_are_no_trainable_variables_of_either_model(table):
    agent, networks = make_agent("joint", weighting=RMTL)
    ids = lambda layer: {id(v) for v in layer.trainable_variables}  # noqa: E731
    assert ids(agent.agent) == ids(networks.actor)
    assert ids(agent.critic_learner) == ids(networks.critic)
    assert not tf.nest.flatten(networks.target_actor.trainable_variables)
