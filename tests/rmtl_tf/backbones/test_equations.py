"""Every backbone of the registry against the equations of its paper, in numpy (oracles.py)."""

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import BACKBONES
from rmtl_tf.errors import UserError
from tests.rmtl_tf.backbones.oracles import ORACLES

NEED_A_PARENT = ("escm2_ips", "escm2_dr")
# Gradients stop inside these: their own tests compare them with differences of what is not stopped.
STOP_GRADIENTS = ("pepnet", "stem")


def scramble(backbone):
    """Weights of about 1, or gates and attentions would be almost even."""
    random = np.random.default_rng(7)
    for variable in backbone.trainable_variables:
        variable.assign(random.normal(scale=0.5, size=variable.shape))


def made(name, spec, tasks, small, cross_layers):
    backbone = BACKBONES[name](spec, tasks, cross_layers=cross_layers, **small)
    backbone.build()
    scramble(backbone)
    return backbone


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize(("count", "cross_layers"), [(1, 0), (2, 0), (4, 0), (2, 2)])
def test_logits_follow_the_papers_equations(name, count, cross_layers, spec, tasks, batch, oracle, small):
    if name in NEED_A_PARENT and count == 1:
        with pytest.raises(UserError, match="expected a task with a parent"):
            BACKBONES[name](spec, tasks(1), **small)
        return
    backbone = made(name, spec, tasks(count), small, cross_layers)
    expected = ORACLES[name](oracle(backbone), batch(), count)
    assert expected.shape == (6, count)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in STOP_GRADIENTS])
def test_gradient_is_that_of_finite_differences_in_numpy(name, spec, tasks, batch, oracle, small):
    """Along a random direction of all weights at once."""
    backbone = made(name, spec, tasks(3), {**small, "dropout": 0.0}, cross_layers=1)
    o, random = oracle(backbone), np.random.default_rng(8)
    upstream = random.normal(size=(6, 3))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(backbone(batch(), training=True) * upstream.astype(np.float32))
    variables = backbone.trainable_variables
    start, slope, direction = dict(o.weights), 0.0, {}
    for variable, gradient in zip(variables, tape.gradient(total, variables), strict=True):
        path = variable.path.split("/", 1)[1]
        direction[path] = random.normal(size=variable.shape)
        if gradient is not None:  # the imputation of ESCM2-DR is no part of the logits
            slope += (tf.convert_to_tensor(gradient).numpy() * direction[path]).sum()

    def moved(step):
        o.weights = {path: value + step * direction.get(path, 0) for path, value in start.items()}
        return (ORACLES[name](o, batch(), 3) * upstream).sum()

    np.testing.assert_allclose(slope, (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=2e-3)
