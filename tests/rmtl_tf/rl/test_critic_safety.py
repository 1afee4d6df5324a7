"""Every target and loss of the critic on hard batches."""

from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.config import CriticConfig
from rmtl_tf.rl.critic_forms import build_critic
from rmtl_tf.rl.critic_learner import LOSSES, CriticLearner
from tests.conftest import small_spec
from tests.rmtl_tf.hard_batches import HARD, SATURATED, assert_finite, hard_batch

KINDS = ("td0", "nstep", "td_lambda", "monte_carlo")


def make_learner(kind, loss="squared", form="shared", output="softplus"):
    config = CriticConfig(form=form, output=output, bottom=(8,), action=3, tower=(4,), dropout=0.0)
    online, target = (build_critic(config, small_spec(), 2, embedding_dim=4, seed=seed) for seed in (1, 2))
    learner = CriticLearner(online, target, ["click", "buy"], 0.95, kind=kind, n=5, trace=0.9, loss=loss)
    learner.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    return learner


def check_step(learner, batch, level, what):
    batch = {**batch, "logits": tf.fill(batch["labels"].shape, level)}
    targets = learner.targets(batch).numpy()[batch["mask"].numpy() > 0]
    assert np.isfinite(targets).all(), what
    assert (targets <= 0).all(), what
    assert_finite(learner.train_step(batch), what)
    assert_finite([variable.numpy() for variable in learner.critic.weights], what)
    return targets


@pytest.mark.parametrize("kind", KINDS)
def test_targets_losses_and_steps_are_finite_for_hard_batches(kind):
    learner = make_learner(kind)
    for name in HARD:
        check_step(learner, hard_batch(name, 2), 0.3, name)


@pytest.mark.parametrize(("kind", "loss"), product(KINDS, LOSSES))
def test_targets_losses_and_steps_are_finite_for_saturated_actions(kind, loss):
    learner = make_learner(kind, loss)
    for level, name in product(SATURATED, ("a task without positives", "a session of 5,000 records")):
        targets = check_step(learner, hard_batch(name, 2), level, (level, name))
    # Sure and wrong costs 1e4 nats; over 5,000 records at gamma 0.95 at most 20 times that.
    assert -2.1e5 < targets.min() < -9e3


@pytest.mark.parametrize(("form", "output"), product(("shared", "separate", "twin"), ("softplus", "relu")))
def test_every_form_of_critic_learns_finite_values(form, output):
    learner = make_learner("td0", form=form, output=output)
    for name, level in product(("sessions of one record", "a task without positives"), SATURATED):
        check_step(learner, hard_batch(name, 2), level, (name, level))
