"""Every weighting of the registry, gradient methods too, in the agent on hard batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import SharedBottom
from rmtl_tf.config import CriticConfig, WeightingConfig
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.critic_forms import build_critic
from rmtl_tf.schema import Task
from rmtl_tf.weighting import GRADIENT_METHODS, LOSS_WEIGHTINGS, WEIGHTINGS, build_weighting
from tests.conftest import small_spec
from tests.rmtl_tf.hard_batches import HARD, SATURATED, assert_finite, hard_batch

NAMES = ("click", "buy", "return")
every = pytest.mark.parametrize("name", WEIGHTINGS)


def make_agent(config, count=2, dtype="float32"):
    spec, weighting = small_spec(), build_weighting(config)
    backbone = SharedBottom(
        spec,
        [Task(name) for name in NAMES[:count]],
        embedding_dim=4,
        bottom=(8,),
        tower=(4,),
        dropout=0.0,
        seed=3,
        dtype=dtype,
    )
    critic = None
    if "q" in weighting.NEEDS:
        sizes = CriticConfig(bottom=(8,), action=3, tower=(4,), dropout=0.0)
        critic = build_critic(sizes, spec, count, embedding_dim=4, seed=4)
    agent = Agent(backbone, weighting, NAMES[:count], critic)
    agent.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    backbone.build()
    return agent


def columns(batch, logit):
    """What the frozen actor leaves: logits of one size and the returns of a long session of such losses."""
    labels = batch["labels"]
    wrong = tf.nn.sigmoid_cross_entropy_with_logits(labels, tf.fill(labels.shape, logit))
    return {**batch, "frozen_logits": tf.fill(labels.shape, logit), "returns": -20.0 * wrong}


def check_step(agent, batch, what):
    omega = agent.omega(batch, tf.ones_like(batch["labels"]), remember=False)
    assert omega.dtype == tf.float32
    assert omega.shape == batch["labels"].shape
    assert (omega.numpy() >= 0).all(), what
    assert (omega.numpy() < 1e9).all(), what
    logs = agent.train_step(batch)
    assert_finite(logs, what)
    assert_finite(agent.state_variables, what)
    assert_finite([variable.numpy() for variable in agent.backbone.trainable_variables], what)
    return logs


@every
@pytest.mark.parametrize("count", [1, 3])
def test_weights_losses_and_gradients_are_finite_for_hard_batches(name, count):
    """One after another, so that a weighting with a memory carries each into the next."""
    agent = make_agent(WeightingConfig(name=name, window=2, rate=0.5), count)
    for hard in HARD:
        logs = check_step(agent, columns(hard_batch(hard, count), 0.3), hard)
        if name in LOSS_WEIGHTINGS:
            assert logs["gradient_norm"] > 0, hard


@every
def test_weights_losses_and_gradients_are_finite_for_saturated_logits(name):
    agent, batch = make_agent(WeightingConfig(name=name, window=1)), hard_batch("a task without positives", 2)
    for level in (*SATURATED, *SATURATED):
        first, second = (layer.bias for layer in agent.backbone.towers.output_layers)
        first.assign([level]), second.assign([-level])
        check_step(agent, columns(batch, level), level)


@every
def test_a_batch_without_records_leaves_finite_weights_and_no_loss(name):
    agent, batch = make_agent(WeightingConfig(name=name, window=1)), hard_batch("all negative", 2)
    for mask in (tf.zeros_like(batch["mask"]), batch["mask"], tf.zeros_like(batch["mask"])):
        logs = check_step(agent, columns({**batch, "mask": mask}, 0.3), "no record")
    assert logs["loss"] == 0


@pytest.mark.parametrize("name", LOSS_WEIGHTINGS)
@pytest.mark.parametrize(
    "scaling", [{"normalise": "batch"}, {"normalise": "task", "temperature": 0.05}, {"cap": 3.0}]
)
def test_normalised_tempered_and_capped_weights_stay_finite(name, scaling):
    agent = make_agent(WeightingConfig(name=name, window=1, **scaling))
    for level in SATURATED:
        batch = columns(hard_batch("a task without positives", 2), level)
        logs = agent.train_step(batch)
        assert_finite(logs, (scaling, level))
        if "cap" in scaling:
            assert logs["omega_max/click"] <= 3


@every
def test_a_bfloat16_actor_is_weighed_as_a_float32_one(name):
    batch = columns(hard_batch("sessions of one record", 2), 0.3)
    full, half = (
        check_step(make_agent(WeightingConfig(name=name), dtype=d), batch, d)
        for d in ("float32", "mixed_bfloat16")
    )
    for log in ("loss", "omega_mean/click", "omega_mean/buy"):
        np.testing.assert_allclose(half[log], full[log], rtol=0.03)
    assert (name in GRADIENT_METHODS) == ("gradient_weight/click" in half)
