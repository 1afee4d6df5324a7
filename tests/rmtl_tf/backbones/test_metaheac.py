"""Tests of `MetaHeac`."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.backbones import MetaHeac
from rmtl_tf.backbones.metaheac import mixture_logit
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones import oracles
from tests.rmtl_tf.backbones.oracles import sigmoid


@pytest.mark.parametrize(("experts", "critics"), [(1, 1), (3, 2)])
def test_logits_follow_the_papers_equations_for_any_heads(
    experts, critics, spec, tasks, batch, oracle, small
):
    backbone = MetaHeac(spec, tasks(2), experts=experts, critic_heads=critics, **small)
    backbone.build()
    expected = oracles.metaheac(oracle(backbone), batch(), 2, experts=experts, critics=critics)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-3, atol=1e-4)


def test_tasks_differ_in_their_embedding_alone(spec, tasks, batch, small):
    backbone = MetaHeac(spec, tasks(2), experts=3, critic_heads=2, **small)
    backbone.build()
    first, second = backbone(batch()).numpy().T
    assert (first != second).any()
    table = backbone.task_embedding.embeddings
    table.assign(tf.repeat(table[:1], 2, axis=0))
    first, second = backbone(batch()).numpy().T
    np.testing.assert_allclose(first, second, rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-30, 30), st.floats(0.01, 1)), min_size=1, max_size=5))
def test_mixture_logit_equals_the_formula_in_probabilities(heads):
    logits, weights = np.array(heads).T
    weights = weights / weights.sum()
    expected = np.log((weights * sigmoid(logits)).sum()) - np.log((weights * sigmoid(-logits)).sum())
    actual = mixture_logit(tf.constant(weights), tf.constant(logits))
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [1.0, 0.0]])
def test_value_and_gradient_of_the_mixture_are_finite_for_extreme_logits(weights):
    extreme = [-1e4, -104.0, -20.0, 0.0, 20.0, 104.0, 1e4]
    grid = tf.constant([[a, b] for a in extreme for b in extreme])
    gates = tf.constant([weights] * len(extreme) ** 2)
    with tf.GradientTape() as tape:
        tape.watch([grid, gates])
        logit = mixture_logit(gates, grid)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(tf.ones_like(logit), logit)
    assert np.isfinite(logit).all()
    assert np.isfinite(loss).all()
    for gradient in tape.gradient(loss, [grid, gates]):
        assert np.isfinite(gradient).all()


def test_one_open_gate_leaves_its_critic_its_own_logit():
    z = tf.constant([[-5.0, 3.0], [0.0, 3.0], [5.0, 3.0]])
    np.testing.assert_allclose(mixture_logit(tf.constant([[1.0, 0.0]] * 3), z), z[:, 0], atol=1e-6)


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = MetaHeac(spec, [Task("click"), Task("buy")])
    backbone.build()
    expert = (7 * 128 * 512 + 512) + (512 * 256 + 256)
    critic = (256 * 128 + 128) + (128 * 64 + 64) + (64 + 1)
    gates = 2 * (2 * 128 * 256 + 256) + 256 * 8 + 256 * 5
    expected = 7 * 1000 * 128 + 2 * 128 + 8 * expert + 5 * critic + gates
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected


def test_experts_without_layers_are_refused(spec, tasks, small):
    with pytest.raises(UserError, match=r"model\.bottom"):
        MetaHeac(spec, tasks(2), **{**small, "bottom": ()})
