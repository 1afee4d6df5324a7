"""Tests of `PLE`."""

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import PLE
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones import oracles


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_logits_follow_the_papers_equations_for_any_number_of_levels(
    levels, spec, tasks, batch, oracle, small
):
    backbone = PLE(spec, tasks(3), task_experts=2, shared_experts=3, levels=levels, **small)
    backbone.build()
    expected = oracles.ple(oracle(backbone), batch(), 3, own=2, shared=3, levels=levels)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-3, atol=1e-4)


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = PLE(spec, [Task("click"), Task("buy")])
    backbone.build()
    state, tower = 7 * 128, (256 * 128 + 128) + (128 * 64 + 64) + (64 + 1)

    def expert(width):
        return (width * 512 + 512) + (512 * 256 + 256)

    first = 12 * expert(state) + 2 * state * 8 + state * 12
    last = 12 * expert(256) + 2 * 256 * 8  # no shared gate
    expected = 7 * 1000 * 128 + first + last + 2 * tower
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected


def test_shared_gate_of_the_first_level_reaches_the_towers(spec, tasks, batch, small):
    """The published code misses this: its shared gate has no influence (METHOD 7.7)."""
    backbone = PLE(spec, tasks(2), task_experts=2, shared_experts=2, **{**small, "dropout": 0.0})
    backbone.build()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(batch(), training=True) ** 2)
    gradients = tape.gradient(loss, backbone.trainable_variables)
    silent = [v.path for v, g in zip(backbone.trainable_variables, gradients, strict=True) if g is None]
    assert silent == []
    (gate,) = (
        g for v, g in zip(backbone.trainable_variables, gradients, strict=True) if "gate_shared" in v.path
    )
    assert bool(tf.reduce_any(gate != 0))
