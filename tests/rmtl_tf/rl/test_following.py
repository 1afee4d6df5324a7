"""Targets whose tables follow row by row are what they would be had every row followed at every step."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import FieldEmbedding
from rmtl_tf.optimizers import TableOptimizer
from rmtl_tf.rl.following import Following

ROWS, RATE = 30, 0.2
SPEC = InputSpec(categorical=(("item", ROWS),), numeric=("price",))


def networks():
    pair = [FieldEmbedding(SPEC, 4, seed=seed) for seed in (1, 2)]
    for layer in pair:
        layer.build()
    return pair


def batches(steps, seed=0):
    random = np.random.default_rng(seed)
    for step in range(steps):
        items = random.integers(0, ROWS if step % 11 == 0 else 8, 6).astype(np.int32)
        yield {"item": tf.constant(items), "price": tf.constant(random.normal(size=6).astype(np.float32))}


class Run:
    """An online embedding that learns, and a target that follows; what the target answers at every step."""

    def __init__(self, lazy, **settings):
        self.target, self.online = networks()
        self.optimizer = TableOptimizer(1e-2)
        self.optimizer.build(self.online.trainable_variables)
        self.following = Following(self.target, self.online, RATE, lazy, lazy_from=2, **settings)
        self.step = tf.function(self._step)

    def _step(self, batch):
        answer = self.target(batch)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(5.0 * self.online(batch)))
        variables = self.online.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self.following.update()
        return answer

    def train(self, steps):
        self.answers = [self.step(batch).numpy() for batch in steps]
        return self

    def state(self):
        variables = (
            *self.target.weights,
            *self.online.weights,
            *self.optimizer.variables,
            *self.following.variables,
        )
        return [np.array(v) for v in variables]


def test_every_answer_of_the_target_and_all_its_rows_at_the_end_are_those_of_a_dense_follower():
    steps = list(batches(80))
    dense, lazy = Run(lazy=False).train(steps), Run(lazy=True).train(steps)
    np.testing.assert_allclose(lazy.answers, dense.answers, rtol=0, atol=1e-6)
    behind = np.abs(np.array(lazy.target.table) - np.array(dense.target.table)).max()
    lazy.following.settle()
    for a, b in zip(lazy.target.weights, dense.target.weights, strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=0, atol=1e-6)
    assert behind > 1e-3


def test_a_row_no_step_touches_approaches_the_online_row_geometrically():
    run = Run(lazy=True)
    run.target.table.assign(run.target.table + 1.0)
    gap = np.array(run.target.table)[20:] - np.array(run.online.table)[20:]
    for step in batches(9):
        run.step({**step, "item": step["item"] % 8})
    run.following.settle()
    left = np.array(run.target.table)[20:] - np.array(run.online.table)[20:]
    np.testing.assert_allclose(left, (1 - RATE) ** 9 * gap, rtol=1e-5)


def test_a_run_resumed_from_its_variables_ends_with_the_same_bits():
    steps = list(batches(20))
    whole, first, rest = Run(lazy=True).train(steps), Run(lazy=True).train(steps[:9]), Run(lazy=True)
    variables = [
        *rest.target.weights,
        *rest.online.weights,
        *rest.optimizer.variables,
        *rest.following.variables,
    ]
    for variable, value in zip(variables, first.state(), strict=True):
        variable.assign(value)
    rest.train(steps[9:])
    for a, b in zip(whole.state(), rest.state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_copy_is_a_copy_of_every_row_and_starts_anew():
    run = Run(lazy=True).train(batches(5))
    run.following.copy()
    run.following.settle()
    for a, b in zip(run.target.weights, run.online.weights, strict=True):
        np.testing.assert_array_equal(np.array(a), np.array(b))


def test_after_the_release_reading_the_online_network_changes_no_target():
    run = Run(lazy=True).train(batches(5))
    run.online.table.assign(run.online.table + 1.0)
    before = np.array(run.target.table)
    run.following.release()
    run.online(next(batches(1)))
    np.testing.assert_array_equal(np.array(run.target.table), before)


@pytest.mark.parametrize(
    "settings", [{"touched_rows_only": False}, {"touched_rows_only": True, "lazy_from": 31}]
)
def test_tables_that_are_small_or_move_everywhere_follow_densely(settings):
    target, online = networks()
    following = Following(target, online, RATE, **settings)
    online.table.assign(online.table + 1.0)
    old, new = np.array(target.table), np.array(online.table)
    following.update()
    np.testing.assert_allclose(np.array(target.table), 0.8 * old + 0.2 * new, rtol=1e-6)
    assert following.variables == []
    assert isinstance(target.table, keras.Variable)
