"""Every backbone under Keras' bfloat16 policy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import BACKBONES
from rmtl_tf.rl.agent import Agent
from rmtl_tf.weighting import Constant

every = pytest.mark.parametrize("kind", BACKBONES.values(), ids=BACKBONES.keys())
NAMES = ["click", "cart", "buy"]


def both(kind, spec, tasks, small):
    """The same weights in float32 and in mixed bfloat16."""
    sizes = {**small, "dropout": 0.0, "bottom": (16, 16), "tower": (16,)}
    return [kind(spec, tasks(3), dtype=d, cross_layers=1, **sizes) for d in ("float32", "mixed_bfloat16")]


@every
def test_bfloat16_computes_what_float32_does_with_float32_weights(kind, spec, tasks, batch, small):
    full, half = both(kind, spec, tasks, small)
    logits = half(batch(20))
    assert logits.dtype == tf.bfloat16
    assert {variable.dtype for variable in half.trainable_variables} == {"float32"}
    np.testing.assert_allclose(tf.cast(logits, tf.float32), full(batch(20)), rtol=0.05, atol=0.03)


@every
def test_bfloat16_trains_a_step_as_float32_does(kind, spec, tasks, batch, small):
    """The agent's loss, a loss of the backbone's own included, and the gradients that reach the weights."""
    random = np.random.default_rng(3)
    records = {"features": batch(40), "labels": tf.constant(random.integers(0, 2, (40, 3)), tf.float32)}
    records |= {"mask": tf.ones(40), "session_length": tf.ones(40)}
    logs, steps = [], []
    for backbone in both(kind, spec, tasks, small):
        agent = Agent(backbone, Constant(), NAMES)
        agent.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
        agent(records["features"])
        before = [variable.numpy() for variable in backbone.trainable_variables]
        logs.append(agent.train_step(records))
        after = [variable.numpy() for variable in backbone.trainable_variables]
        steps.append(np.concatenate([(b - a).ravel() for a, b in zip(before, after, strict=True)]))
    np.testing.assert_allclose(logs[1]["loss"], logs[0]["loss"], rtol=0.02)
    full, half = steps
    assert np.isfinite(half).all()
    # The steps point the same way: the angle between them is small.
    assert full @ half > 0.98 * np.linalg.norm(full) * np.linalg.norm(half)
    np.testing.assert_allclose(np.linalg.norm(half), np.linalg.norm(full), rtol=0.1)
