from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.config import CriticConfig
from rmtl_tf.inputs import Batcher, epoch_plan
from rmtl_tf.optimizers import sum_duplicates
from rmtl_tf.rl.critic import MultiCritic
from rmtl_tf.rl.critic_forms import build_critic
from rmtl_tf.rl.critic_learner import CriticLearner, huber, squared_error
from tests.conftest import make_table, small_spec


def make_learner(table, gamma=0.9, beta=0.2, dropout=0.0, form="shared", output="softplus", **settings):
    config = CriticConfig(form=form, output=output, bottom=(8,), action=3, tower=(4,), dropout=dropout)
    online, target = (build_critic(config, small_spec(), 2, embedding_dim=4, seed=seed) for seed in (1, 2))
    learner = CriticLearner(online, target, ["click", "buy"], gamma, beta, **settings)
    learner.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    logits = np.random.default_rng(5).normal(size=(table.rows, 2)).astype(np.float32)
    plan = epoch_plan(table, max(16, int(np.diff(table.windows).max())), seed=0)
    return learner, logits, list(Batcher(table, {"logits": logits}).batches(plan)), plan


def test_target_starts_as_a_copy_and_follows_softly(table):
    learner, _, batches, _ = make_learner(table, beta=0.3)
    before = [np.array(v) for v in learner.target.weights]
    for old, new in zip(before, learner.critic.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    learner.train_step(batches[0])
    for old, new, online in zip(before, learner.target.weights, learner.critic.weights, strict=True):
        np.testing.assert_allclose(new, 0.7 * old + 0.3 * np.array(online), rtol=1e-5, atol=1e-7)


def test_loss_is_the_mean_squared_td_error_of_real_records(table):
    learner, logits, batches, plan = make_learner(table, gamma=0.9)
    rows = plan[0]
    real = (rows >= 0) & ~table.lookahead[rows]
    actions = 1 / (1 + np.exp(-logits))
    values = learner.critic(table.features, actions).numpy()
    errors = []
    for row in rows[real]:
        y, a = table.labels[row], actions[row]
        reward = y * np.log(a) + (1 - y) * np.log(1 - a)
        following = 0 if table.done[row] else values[row + 1]
        errors.append(reward + 0.9 * following - values[row])
    logs = learner.train_step(batches[0])
    np.testing.assert_allclose(logs["loss/click"], np.mean(np.square(errors)[:, 0]), rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], np.mean(np.square(errors)), rtol=1e-4)


def test_only_the_online_critic_is_trained_by_gradients(table):
    learner, _, batches, _ = make_learner(table, beta=1e-9)
    target = [np.array(v) for v in learner.target.weights]
    online = [np.array(v) for v in learner.critic.weights]
    learner.train_step(batches[0])
    for old, new in zip(target, learner.target.weights, strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6)
    assert any((old != np.array(new)).any() for old, new in zip(online, learner.critic.weights, strict=True))


def reference_step(learner, batch):
    """One step of TD(0) with squared errors, written out for the shared critic."""
    critic, target = learner.critic, learner.target
    actions = tf.sigmoid(batch["logits"])
    following = tf.gather(target(batch["features"], actions, training=False), batch["next"])
    reward = -tf.nn.sigmoid_cross_entropy_with_logits(labels=batch["labels"], logits=batch["logits"])
    targets = reward + learner.gamma * (1.0 - batch["done"][:, None]) * following
    weight = batch["mask"][:, None]
    with tf.GradientTape() as tape:
        values = critic(batch["features"], actions, training=True)
        squares = tf.reduce_sum(weight * (tf.stop_gradient(targets) - values) ** 2, axis=0)
        loss = tf.reduce_mean(tf.math.divide_no_nan(squares, tf.reduce_sum(weight)))
    variables, beta = critic.trainable_variables, learner.following.rate
    learner.optimizer.apply(sum_duplicates(tape.gradient(loss, variables)), variables)
    for old, new in zip(target.weights, critic.weights, strict=True):
        old.assign(beta * new + (1.0 - beta) * old)


def test_the_default_training_is_plain_td0_to_the_bit(table):
    learner, logits, _, _ = make_learner(table, dropout=0.3)
    written_out, *_ = make_learner(table, dropout=0.3)
    step = tf.function(lambda batch: reference_step(written_out, batch))
    batcher = Batcher(table, {"logits": logits})
    for epoch in range(2):
        plan = epoch_plan(table, 16, seed=0, epoch=epoch)
        learner.fit(batcher.batches(plan), verbose=0)
        for batch in batcher.batches(plan):
            step(batch)
    for network in ("critic", "target"):
        pairs = zip(getattr(learner, network).variables, getattr(written_out, network).variables, strict=True)
        for got, expected in pairs:
            assert np.array(got).tobytes() == np.array(expected).tobytes()


def test_targets_of_twins_come_from_the_lower_twin(table):
    learner, logits, batches, plan = make_learner(table, form="twin")
    actions = 1 / (1 + np.exp(-logits))
    first, second = (twin(table.features, actions).numpy() for twin in learner.target.twins)
    assert (first < second).any()
    assert (first > second).any()
    lowest = np.minimum(first, second)
    got = learner.targets(batches[0]).numpy()
    for place, row in enumerate(plan[0]):
        if row >= 0 and not table.lookahead[row]:
            y, a = table.labels[row], actions[row]
            following = 0 if table.done[row] else lowest[row + 1]
            expected = y * np.log(a) + (1 - y) * np.log(1 - a) + 0.9 * following
            np.testing.assert_allclose(got[place], expected, rtol=1e-4)


def test_both_twins_learn_and_the_loss_is_their_mean(table):
    learner, logits, batches, plan = make_learner(table, form="twin")
    before = [[np.array(v) for v in twin.weights] for twin in learner.critic.twins]
    rows = plan[0]
    real = (rows >= 0) & ~table.lookahead[rows]
    targets = learner.targets(batches[0]).numpy()[real]
    actions = 1 / (1 + np.exp(-logits))
    values = [twin(table.features, actions).numpy()[rows[real]] for twin in learner.critic.twins]
    logs = learner.train_step(batches[0])
    expected = np.mean([(targets - q) ** 2 for q in values], axis=(0, 1))
    np.testing.assert_allclose([logs["loss/click"], logs["loss/buy"]], expected, rtol=1e-4)
    np.testing.assert_allclose(logs["q_mean/click"], np.mean(values, axis=(0, 1))[0], rtol=1e-4)
    for twin, weights in zip(learner.critic.twins, before, strict=True):
        assert any((old != np.array(new)).any() for old, new in zip(weights, twin.weights, strict=True))


def test_huber_is_quadratic_near_zero_and_linear_beyond_one():
    errors = np.float32([-30.0, -1.0, -0.4, 0.0, 0.4, 1.0, 30.0])
    expected = [29.5, 0.5, 0.08, 0.0, 0.08, 0.5, 29.5]
    np.testing.assert_allclose(huber(tf.constant(errors)), expected, rtol=1e-6)
    np.testing.assert_allclose(squared_error(tf.constant(errors)), errors**2)


def test_loss_and_target_reach_the_step(table):
    losses = {}
    for settings in ({}, {"loss": "huber"}, {"kind": "nstep", "n": 2}, {"kind": "monte_carlo"}):
        learner, _, batches, _ = make_learner(table, **settings)
        losses[str(settings)] = float(learner.train_step(batches[0])["loss"])
    assert len(set(losses.values())) == 4
    with pytest.raises(ValueError, match="huber"):
        make_learner(table, loss="absolute")


LONG = {"one record": [1], "5,000 records": [5000], "many of one": [1] * 40}


@pytest.mark.parametrize("lengths", LONG.values(), ids=LONG.keys())
@pytest.mark.parametrize("labels", ["all negative", "as drawn"])
@pytest.mark.parametrize("output", ["softplus", "relu"])
def test_training_stays_finite_at_saturated_logits_and_extreme_sessions(lengths, labels, output):
    table = make_table(lengths)
    if labels == "all negative":
        table.labels[:] = 0
    size = sum(lengths)
    logits = np.random.default_rng(0).choice([-1e4, 0.0, 1e4], (size, 2)).astype(np.float32)
    reward = -np.maximum(logits, 0) + logits * table.labels - np.log1p(np.exp(-np.abs(logits)))
    batch = next(iter(Batcher(table, {"logits": logits}).batches(epoch_plan(table, size, 0))))
    for kind in ("td0", "monte_carlo"):
        learner = make_learner(table, gamma=1.0, kind=kind, output=output)[0]
        learner.critic.start_from(reward.sum(axis=0))
        learner.following.copy()
        for _ in range(2):
            logs = learner.train_step(batch)
        assert all(np.isfinite(value) for value in logs.values())
        assert all(np.isfinite(np.array(v)).all() for v in learner.critic.weights)
        values = learner(batch["features"], tf.sigmoid(logits)).numpy()
        assert np.isfinite(values).all()
        assert (values <= 0).all()


def test_critics_that_are_built_already_keep_their_variables(table):
    critics = [
        MultiCritic(small_spec(), 2, embedding_dim=4, bottom=(8,), action=3, tower=(4,)) for _ in range(2)
    ]
    for critic in critics:
        critic.build()
    count = len(critics[0].weights)
    CriticLearner(*critics, ["click", "buy"])
    assert [len(critic.weights) for critic in critics] == [count, count]
