"""The work of a training step does not depend on the size of the tables."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from benchmarks.speed import NAMES, Size, agent_models, make_backbone, make_critic
from rmtl_tf.config import CriticConfig, ModelConfig, OptimizerConfig, PhaseConfig, WeightingConfig
from rmtl_tf.optimizers.build import touched_rows_only
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.critic_learner import CriticLearner
from rmtl_tf.training.networks import compile_model
from rmtl_tf.weighting import build_weighting

# A prime, so that no other number in the graph is it by chance; above `following.LAZY_FROM`.
ROWS = 16_411
SIZE = Size(
    fields=1,
    rows=ROWS,
    batch=16,
    model=ModelConfig(embedding_dim=4, bottom=(8,), tower=(4,)),
    critic=CriticConfig(bottom=(8,), action=3, tower=(4,)),
)


def table_sized(step):
    """The operations of a traced step, and of all functions it calls, that have an output of ROWS rows."""
    graph = tf.function(step).get_concrete_function(SIZE.records()).graph
    graphs, seen, found = [graph], set(), []
    while graphs:
        graph = graphs.pop()
        for operation in graph.get_operations():
            for output in operation.outputs:
                if output.shape.rank and ROWS in output.shape.as_list():
                    found.append(f"{operation.type} {operation.name}")
        for function in graph._functions.values():
            inner = getattr(function, "graph", None)
            if inner is not None and id(inner) not in seen:
                seen.add(id(inner))
                graphs.append(inner)
    return found


def compiled(rule, clip=None):
    backbone = make_backbone(SIZE, "shared_bottom")
    agent = Agent(backbone, build_weighting(WeightingConfig()), NAMES)
    compile_model(agent, backbone, PhaseConfig(), OptimizerConfig(tables=rule, clip_norm=clip))
    return agent


@pytest.mark.parametrize("rule", ["adam", "adam_lazy", "adagrad", "adagrad_rowwise", "ftrl"])
def test_no_operation_of_an_actors_step_is_as_long_as_its_table(rule):
    assert table_sized(compiled(rule, clip=1.0).train_step) == []


def test_dense_adam_is_found_out():
    assert table_sized(compiled("dense").train_step)
    agent = compiled("dense")
    agent.compile(optimizer=keras.optimizers.Adam(), jit_compile=False)
    assert table_sized(agent.train_step)


def test_no_operation_of_a_critics_step_is_as_long_as_its_table():
    online, target = make_critic(SIZE, "shared"), make_critic(SIZE, "shared")
    config = OptimizerConfig()
    learner = CriticLearner(online, target, NAMES, touched_rows_only=touched_rows_only(config))
    compile_model(learner, online, PhaseConfig(), config, followed=True)
    assert table_sized(learner.train_step) == []


@pytest.mark.parametrize("name", ["joint", "ddpg", "td3_bc"])
def test_no_operation_of_an_agents_step_is_as_long_as_its_tables(name):
    for model in agent_models(SIZE, name):
        assert table_sized(model.train_step) == []
