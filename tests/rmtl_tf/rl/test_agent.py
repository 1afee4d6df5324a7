from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import ESCM2DR, ESCM2IPS, SharedBottom
from rmtl_tf.config import WeightingConfig
from rmtl_tf.inputs import Batcher, epoch_plan
from rmtl_tf.rl.agent import ENCODED, Agent
from rmtl_tf.rl.critic import MultiCritic
from rmtl_tf.rl.mdp import cross_entropy
from rmtl_tf.schema import Task
from rmtl_tf.training.predict import OmegaPredictor, encoded_column
from rmtl_tf.weighting import build_weighting
from tests.conftest import small_spec

TASKS = (Task("click"), Task("buy", parent="click"))


def make_critic():
    critic = MultiCritic(
        small_spec(), 2, embedding_dim=4, bottom=(8,), action=3, tower=(4,), dropout=0.5, seed=9
    )
    critic.build()
    return critic


def make_agent(weighting=None, critic=None, dropout=0.2, backbone=None):
    backbone = backbone or SharedBottom(
        small_spec(), TASKS, embedding_dim=4, bottom=(8,), tower=(4,), dropout=dropout, id_dropout=0.1, seed=3
    )
    agent = Agent(backbone, build_weighting(weighting or WeightingConfig()), ["click", "buy"], critic)
    agent.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    return agent


def batches_of(table, **extras):
    return list(Batcher(table, extras).batches(epoch_plan(table, 12, seed=0)))


def weights_after_training(agent, table, epochs=3):
    for epoch in range(epochs):
        agent.fit(Batcher(table).batches(epoch_plan(table, 12, 0, epoch)), verbose=0)
    return [np.array(v) for v in agent.backbone.variables]


def test_lambda_zero_trains_to_the_same_bits_as_the_control(table):
    control = weights_after_training(make_agent(), table)
    lambda_zero = WeightingConfig(name="rmtl", lam=0.0, power=1.0)
    weighted = weights_after_training(make_agent(lambda_zero, make_critic()), table)
    for a, b in zip(control, weighted, strict=True):
        np.testing.assert_array_equal(a, b)
    changed = weights_after_training(make_agent(WeightingConfig(name="rmtl", lam=0.7), make_critic()), table)
    assert any((a != b).any() for a, b in zip(control, changed, strict=True))


def test_omega_is_one_minus_lambda_q_of_the_current_action_without_dropout(table):
    critic = make_critic()
    agent = make_agent(WeightingConfig(name="rmtl", lam=0.7), critic)
    batch = batches_of(table)[0]
    actions = tf.sigmoid(agent.backbone(batch["features"], training=False))
    q = critic(batch["features"], actions, training=False).numpy()
    omega = agent.omega(batch, tf.zeros_like(batch["labels"]))
    np.testing.assert_allclose(omega, 1 - 0.7 * q, rtol=1e-5)
    assert (omega.numpy() >= 1).all()


@pytest.mark.parametrize("weighting", ["rmtl", "advantage"])  # Q, and Q beside the state's value
def test_batches_with_the_critics_encoded_states_give_the_same_omega_without_reading_them(table, weighting):
    critic = make_critic()
    agent = make_agent(WeightingConfig(name=weighting), critic)
    column = encoded_column(critic, table, most=1 << 20)
    assert set(column) == {ENCODED}
    plan = epoch_plan(table, 12, seed=0)
    pairs = list(zip(batches_of(table), Batcher(table, column).batches(plan), strict=True))
    expected = [agent.omega(batch, tf.zeros_like(batch["labels"])) for batch, _ in pairs]
    critic.bottom = critic.embedding = None  # whatever reads a state now fails
    for omega, (_, batch) in zip(expected, pairs, strict=True):
        found = agent.omega(batch, tf.zeros_like(batch["labels"]))
        real = batch["mask"].numpy() > 0  # padding reads the state of record 0
        np.testing.assert_allclose(found.numpy()[real], omega.numpy()[real], rtol=1e-6)


def test_no_gradient_flows_through_omega_or_into_the_critic(table):
    """The step equals one with omega given as numbers: weights after it are the same."""
    critic = make_critic()
    before = [np.array(v) for v in critic.variables]
    agent = make_agent(WeightingConfig(name="rmtl", lam=0.7), critic, dropout=0.0)
    twin = make_agent(dropout=0.0)
    batch = batches_of(table)[0]
    agent(batch["features"]), twin(batch["features"])
    omega = agent.omega(batch, tf.zeros_like(batch["labels"])).numpy()
    # Same dropout of ids: both backbones have the same seed and neither has drawn from it yet.
    with tf.GradientTape() as tape:
        losses = cross_entropy(batch["labels"], twin.backbone(batch["features"], training=True))
        weight = batch["mask"][:, None]
        loss = tf.reduce_sum(weight * omega * losses) / (tf.reduce_sum(weight) * 2)
    gradients = tape.gradient(loss, twin.backbone.trainable_variables)
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]  # rows read twice are summed
    twin.optimizer.apply(gradients, twin.backbone.trainable_variables)
    logs = agent.train_step(batch)
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(logs["gradient_norm"], tf.linalg.global_norm(gradients), rtol=1e-5)
    for a, b in zip(agent.backbone.weights, twin.backbone.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for old, new in zip(before, critic.variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_frozen_critic_is_no_variable_of_the_agent(table):
    agent = make_agent(WeightingConfig(name="rmtl"), make_critic())
    agent(batches_of(table)[0]["features"])
    assert {id(v) for v in agent.trainable_variables} == {id(v) for v in agent.backbone.trainable_variables}


def test_padding_and_lookahead_rows_change_nothing(table):
    agent = make_agent(dropout=0.0)
    batch = batches_of(table)[0]
    hidden = batch["mask"].numpy() == 0
    assert hidden.any()
    agent(batch["features"])
    losses = [float(make_step(agent, batch)["loss"])]
    labels = batch["labels"].numpy()
    labels[hidden] = 1 - labels[hidden]
    losses.append(float(make_step(agent, {**batch, "labels": tf.constant(labels)})["loss"]))
    assert losses[0] == losses[1]


def make_step(agent, batch):
    """A step from fresh weights and seeds."""
    return make_agent(dropout=0.0).train_step(batch)


def test_training_lowers_every_tasks_loss(table):
    agent = make_agent(dropout=0.0)
    batch = batches_of(table)[0]
    first = agent.train_step(batch)
    for _ in range(60):
        last = agent.train_step(batch)
    for task in ("click", "buy"):
        assert last[f"loss/{task}"] < 0.7 * first[f"loss/{task}"]


def test_returns_reach_the_monte_carlo_weighting(table):
    returns = -np.random.default_rng(0).random((table.rows, 2)).astype(np.float32)
    agent = make_agent(WeightingConfig(name="monte_carlo", lam=0.5))
    batch = batches_of(table, returns=returns)[0]
    omega = agent.omega(batch, tf.zeros_like(batch["labels"]))
    np.testing.assert_allclose(omega, 1 - 0.5 * batch["returns"], rtol=1e-6)


def test_the_frozen_actors_logits_reach_the_entropy_weighting(table):
    logits = np.random.default_rng(0).normal(size=(table.rows, 2)).astype(np.float32)
    agent = make_agent(WeightingConfig(name="entropy", strength=2.0))
    batch = batches_of(table, frozen_logits=logits)[0]
    p = 1 / (1 + np.exp(-batch["frozen_logits"].numpy()))
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    omega = agent.omega(batch, tf.zeros_like(batch["labels"]))
    np.testing.assert_allclose(omega, 1 / (1 + 2 * entropy), rtol=1e-5)


def test_advantage_compares_with_the_critic_at_the_mean_action_of_the_valid_records(table):
    critic = make_critic()
    agent = make_agent(WeightingConfig(name="advantage", lam=2.0), critic)
    batch = batches_of(table)[0]
    valid = batch["mask"].numpy() > 0
    assert not valid.all()
    actions = tf.sigmoid(agent.backbone(batch["features"], training=False)).numpy()
    mean = np.tile(actions[valid].mean(axis=0), (len(valid), 1)).astype(np.float32)
    q, value = (critic(batch["features"], a, training=False).numpy() for a in (actions, mean))
    omega = agent.omega(batch, tf.zeros_like(batch["labels"]))
    np.testing.assert_allclose(omega, np.exp(-2 * (q - value)), rtol=1e-4)


def test_a_weightings_memory_moves_in_training_and_not_when_only_asked(table):
    agent = make_agent(WeightingConfig(name="uncertainty"))
    batch = batches_of(table)[0]
    losses = tf.ones_like(batch["labels"]) * 3
    agent.omega(batch, losses, remember=False)
    OmegaPredictor(agent, table)()
    np.testing.assert_array_equal(agent.state_variables[0], [0, 0])
    agent.omega(batch, losses)
    np.testing.assert_allclose(agent.state_variables[0], [0.05, 0.05], rtol=1e-5)


def test_a_weighting_that_reads_q_needs_a_critic():
    with pytest.raises(ValueError, match="`critic`"):
        make_agent(WeightingConfig(name="rmtl"))


def test_any_keras_model_of_the_contracts_shape_can_be_the_actor(table):
    class Logistic(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, inputs, training=False):
            return self.dense(tf.stack([inputs["price"], inputs["age"]], axis=1))

    agent = make_agent(WeightingConfig(name="rmtl"), make_critic(), backbone=Logistic())
    batch = batches_of(table)[0]
    first = agent.train_step(batch)["loss"]
    for _ in range(50):
        last = agent.train_step(batch)["loss"]
    assert last < first


class OwnLoss(SharedBottom):
    """A backbone whose own loss is `scale` times the mean of the squared logits that count."""

    scale = 0.0

    def logits_and_loss(self, inputs, labels, mask, training=True):
        logits = self(inputs, training=training)
        return logits, self.scale * tf.reduce_sum(mask[:, None] * logits**2) / tf.reduce_sum(mask)


def own_loss(scale, dropout=0.2):
    backbone = OwnLoss(
        small_spec(), TASKS, embedding_dim=4, bottom=(8,), tower=(4,), dropout=dropout, id_dropout=0.1, seed=3
    )
    backbone.scale = scale
    return backbone


def test_a_backbones_own_loss_is_added_once_and_unweighted(table):
    batch = batches_of(table)[0]
    agent = make_agent(WeightingConfig(name="rmtl"), make_critic(), backbone=own_loss(0.5, dropout=0.0))
    plain = make_agent(WeightingConfig(name="rmtl"), make_critic(), backbone=own_loss(0.0, dropout=0.0))
    agent(batch["features"]), plain(batch["features"])
    logits = own_loss(0.5, dropout=0.0)(batch["features"], training=True).numpy()
    mask = batch["mask"].numpy()
    extra = 0.5 * (mask[:, None] * logits**2).sum() / mask.sum()
    logs, control = agent.train_step(batch), plain.train_step(batch)
    np.testing.assert_allclose(logs["loss_backbone"], extra, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"] - control["loss"], extra, rtol=1e-4)
    np.testing.assert_array_equal(logs["loss/click"], control["loss/click"])
    assert logs["gradient_norm"] != control["gradient_norm"]


def test_an_own_loss_of_zero_trains_to_the_same_bits_as_none(table):
    none = weights_after_training(make_agent(), table)
    zero = weights_after_training(make_agent(backbone=own_loss(0.0)), table)
    for a, b in zip(none, zero, strict=True):
        np.testing.assert_array_equal(a, b)
    changed = weights_after_training(make_agent(backbone=own_loss(1.0)), table)
    assert any((a != b).any() for a, b in zip(none, changed, strict=True))


def test_a_backbone_without_an_own_loss_logs_none(table):
    assert "loss_backbone" not in make_agent().train_step(batches_of(table)[0])


@pytest.mark.parametrize("kind", [ESCM2IPS, ESCM2DR])
def test_escm2_trains_in_the_agent_and_learns_all_its_parts(kind, table):
    backbone = kind(
        small_spec(), TASKS, embedding_dim=4, bottom=(8,), tower=(4,), dropout=0.0, counterfactual_weight=0.5
    )
    agent = make_agent(backbone=backbone)
    batch = batches_of(table)[0]
    agent(batch["features"])
    before = [np.array(v) for v in backbone.trainable_variables]
    step = tf.function(agent.train_step)
    first = step(batch)
    for _ in range(60):
        last = step(batch)
    assert last["loss"] < first["loss"]
    for old, new in zip(before, backbone.trainable_variables, strict=True):
        assert (old != np.array(new)).any(), new.path
