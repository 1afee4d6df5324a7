"""Gradient methods on a model: what is shared, what is a task's own, and the sum."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import ESMM, MMoE, SharedBottom
from rmtl_tf.config import WeightingConfig
from rmtl_tf.inputs import Batcher, epoch_plan
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.mdp import cross_entropy
from rmtl_tf.rl.task_gradients import combined_gradients
from rmtl_tf.schema import Task
from rmtl_tf.training.networks import build
from rmtl_tf.weighting import GRADIENT_METHODS, build_weighting
from rmtl_tf.weighting.gradient_method import GradientMethod
from tests.conftest import make_table, small_spec


@dataclass(frozen=True)
class Fixed(GradientMethod):
    """Keeps the Gram matrix it was given as its state, and answers weights given beforehand."""

    weights: tuple[float, ...]

    def init(self, num_tasks):
        return (tf.zeros((num_tasks, num_tasks)), tf.zeros(num_tasks))

    def combine(self, gram, losses, state):
        return tf.constant(self.weights), (gram, losses)


def make_backbone(num_tasks=2, kind=SharedBottom, dropout=0.0, **settings):
    tasks = [Task("t0"), *(Task(f"t{k}", parent="t0") for k in range(1, num_tasks))]
    backbone = kind(small_spec(), tasks, embedding_dim=4, tower=(4,), dropout=dropout, seed=3, **settings)
    build(backbone, small_spec())
    return backbone


def make_batch(num_tasks=2):
    table = make_table([3, 1, 5, 8, 2, 6, 1], cut=(2, 3), tasks=num_tasks)
    return next(iter(Batcher(table).batches(epoch_plan(table, 20, seed=0))))


def mean_losses(backbone, batch):
    mask = batch["mask"][:, None]
    losses = cross_entropy(batch["labels"], backbone(batch["features"], training=True))
    return tf.unstack(tf.reduce_sum(mask * losses, axis=0) / tf.reduce_sum(mask), losses.shape[1])


def separate_gradients(backbone, batch):
    """One dense gradient a variable for every task, each from a tape of its own."""
    result = []
    for k in range(len(backbone.tasks)):
        with tf.GradientTape() as tape:
            loss = mean_losses(backbone, batch)[k]
        gradients = tape.gradient(loss, backbone.trainable_variables)
        result.append(
            [
                np.zeros(v.shape) if g is None else tf.convert_to_tensor(g).numpy()
                for g, v in zip(gradients, backbone.trainable_variables, strict=True)
            ]
        )
    return result


def combine(method, backbone, batch):
    num_tasks = len(backbone.tasks)
    with tf.GradientTape(persistent=True) as tape:
        losses = mean_losses(backbone, batch)
    return combined_gradients(method, tape, losses, backbone.trainable_variables, method.init(num_tasks))


@pytest.mark.parametrize(("num_tasks", "weights"), [(1, (9.0,)), (2, (0.8, -0.3)), (4, (0.1, 0.2, 0.3, 2.0))])
def test_shared_variables_take_the_methods_weights_and_towers_the_mean(num_tasks, weights):
    backbone, batch = make_backbone(num_tasks, bottom=(8,)), make_batch(num_tasks)
    separate = separate_gradients(backbone, batch)
    gradients, given, (gram, losses) = combine(Fixed(weights), backbone, batch)
    np.testing.assert_array_equal(given, np.float32(weights))
    np.testing.assert_allclose(losses, [float(loss) for loss in mean_losses(backbone, batch)], rtol=1e-6)
    expected_gram = np.zeros((num_tasks, num_tasks))
    towers = 0
    for number, variable in enumerate(backbone.trainable_variables):
        rows = np.array([task[number] for task in separate])
        own = "towers" in variable.path or num_tasks == 1
        towers += own
        if not own:
            flat = rows.reshape(num_tasks, -1)
            expected_gram += flat @ flat.T
        factors = np.full(num_tasks, 1 / num_tasks) if own else np.array(weights)
        actual = tf.convert_to_tensor(gradients[number])
        np.testing.assert_allclose(actual, np.tensordot(factors, rows, 1), rtol=1e-4, atol=1e-6)
    assert towers > 0
    np.testing.assert_allclose(gram, expected_gram, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", [MMoE, ESMM])
def test_even_weights_give_the_gradient_of_the_mean_loss_for_any_backbone(kind):
    settings = {"bottom": (8,), "experts": 2} if kind is MMoE else {"bottom": (8,)}
    backbone, batch = make_backbone(kind=kind, **settings), make_batch()
    gradients, *_ = combine(Fixed((0.5, 0.5)), backbone, batch)
    expected = [np.mean(rows, axis=0) for rows in zip(*separate_gradients(backbone, batch), strict=True)]
    for actual, mean in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(actual), mean, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_the_embedding_table_stays_row_sparse():
    backbone, batch = make_backbone(bottom=(8,)), make_batch()
    gradients, *_ = combine(Fixed((0.5, 0.5)), backbone, batch)
    sparse = [gradient for gradient in gradients if isinstance(gradient, tf.IndexedSlices)]
    assert len(sparse) == 1
    indices = sparse[0].indices.numpy()
    assert len(set(indices)) == len(indices)


def test_a_dense_and_a_sparse_gradient_of_one_variable_are_added():
    table = tf.Variable(np.arange(6.0, dtype=np.float32).reshape(3, 2))
    unused = tf.Variable(1.0)
    with tf.GradientTape(persistent=True) as tape:
        losses = [tf.reduce_sum(tf.gather(table, [2, 2])), tf.reduce_sum(table**2)]
    gradients, _, (gram, _) = combined_gradients(
        Fixed((2.0, 1.0)), tape, losses, [table, unused], Fixed((1.0, 1.0)).init(2)
    )
    rows = np.array([[0, 0, 0, 0, 2, 2], 2 * np.arange(6)], np.float32)
    np.testing.assert_allclose(gram, rows @ rows.T)
    np.testing.assert_allclose(tf.convert_to_tensor(gradients[0]), (2 * rows[0] + rows[1]).reshape(3, 2))
    assert gradients[1] is None


def make_agent(name, num_tasks=2, dropout=0.0, **settings):
    backbone = make_backbone(num_tasks, bottom=(8,), dropout=dropout)
    names = [task.name for task in backbone.tasks]
    agent = Agent(backbone, build_weighting(WeightingConfig(name=name, **settings)), names)
    agent.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    return agent


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_with_one_task_every_method_trains_as_the_control(name):
    batch, weights = make_batch(1), []
    for kind in ("constant", name):
        agent = make_agent(kind, 1, dropout=0.2)
        for _ in range(3):
            logs = agent.train_step(batch)
        weights.append(agent.backbone.get_weights())
    assert "gradient_weight/t0" in logs
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_gradnorm_at_its_first_step_is_the_control():
    batch, weights = make_batch(), []
    for name in ("constant", "gradnorm"):
        agent = make_agent(name, dropout=0.2)
        agent.train_step(batch)
        weights.append(agent.backbone.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_every_method_lowers_every_tasks_loss(name):
    agent, batch = make_agent(name), make_batch()
    first = agent.train_step(batch)
    step = tf.function(agent.train_step)
    for _ in range(150):
        logs = step(batch)
    for task in ("t0", "t1"):
        assert logs[f"loss/{task}"] < first[f"loss/{task}"]
        assert logs[f"omega_mean/{task}"] == 1


def test_the_state_of_a_method_follows_the_batches_once():
    agent, batch = make_agent("pcgrad"), make_batch()
    for _ in range(3):
        agent.train_step(batch)
    agent.omega(batch, tf.zeros_like(batch["labels"]))
    assert [int(value) for value in agent.state_variables] == [3]
