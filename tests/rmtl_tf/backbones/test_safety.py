"""Every backbone and its whole loss where a float32 could overflow, vanish or be divided by 0."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import BACKBONES
from rmtl_tf.rl.agent import Agent
from rmtl_tf.weighting import Constant
from tests.rmtl_tf.hard_batches import HARD, SATURATED, assert_finite, hard_batch

every = pytest.mark.parametrize("kind", BACKBONES.values(), ids=BACKBONES.keys())
NAMES = ["click", "cart", "buy"]


def make_agent(kind, spec, tasks, small):
    backbone = kind(spec, tasks(3), cross_layers=1, **{**small, "dropout": 0.0})
    agent = Agent(backbone, Constant(), NAMES)
    agent.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    backbone.build()
    return agent


def saturate(backbone, level):
    """Every output of a network at `level`, imputation networks and the heads of mixtures too."""
    outputs = [v for v in backbone.trainable_variables if re.search(r"/output(_\d+)?/bias$", v.path)]
    assert len(outputs) >= 3
    for number, bias in enumerate(outputs):
        bias.assign([level if number % 2 == 0 else -level])


def check_step(agent, batch, what):
    before = [variable.numpy() for variable in agent.backbone.trainable_variables]
    logs = agent.train_step(batch)
    assert_finite(logs, what)
    assert logs["loss"] >= 0, what
    after = [variable.numpy() for variable in agent.backbone.trainable_variables]
    assert_finite(after, what)
    return float(logs["gradient_norm"]), any((b != a).any() for a, b in zip(before, after, strict=True))


@every
def test_losses_gradients_and_steps_are_finite_for_hard_batches(kind, spec, tasks, small):
    agent = make_agent(kind, spec, tasks, small)
    for name in HARD:
        norm, moved = check_step(agent, hard_batch(name, 3, spec), name)
        assert norm > 0, name
        assert moved, name
    batch = hard_batch("all negative", 3, spec)
    logs = agent.train_step({**batch, "mask": tf.zeros_like(batch["mask"])})
    assert_finite(logs, "no record")
    assert logs["loss"] == logs["gradient_norm"] == 0


@every
def test_probabilities_losses_and_gradients_are_finite_for_saturated_logits(kind, spec, tasks, small):
    """Outputs of +-1e4, sure and right in some records, sure and wrong in others."""
    agent, batch = make_agent(kind, spec, tasks, small), hard_batch("a task without positives", 3, spec)
    for level in SATURATED:
        saturate(agent.backbone, level)
        probabilities = tf.sigmoid(agent.backbone(batch["features"])).numpy()
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
        if kind.__name__ != "MetaHeac":  # a mixture of sure heads
            assert np.isin(probabilities[:, 0], [0, 1]).all()
        check_step(agent, batch, level)
