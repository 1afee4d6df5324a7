"""Backbones of an unusual build go through the three phases; tests of backbones alone are beside them."""

from __future__ import annotations

import numpy as np
import pytest

from rmtl_tf.config import CriticConfig, ModelConfig, TrainingConfig
from rmtl_tf.features.graph import Categorical, Numeric, TransformGraph
from rmtl_tf.files import read_json
from rmtl_tf.schema import Task
from rmtl_tf.training.phases import Trainer
from rmtl_tf.training.predict import Predictor
from rmtl_tf.training.problem import Problem
from rmtl_tf.training.run import load_actor, run_training
from tests.conftest import make_table

GRAPH = TransformGraph(
    features=(
        Categorical("user", tuple("abcde"), is_id=True),
        Categorical("item", tuple("abcdefghi"), is_id=True),
        Numeric("price", 0.0, 1.0),
    ),
    tasks=(Task("click"), Task("buy", parent="click")),
    labels=("click", "buy"),
    timestamp="t",
)
SPEC = GRAPH.input_spec()
TRAINING = TrainingConfig(
    batch_size=64,
    arms=["control", "paper"],
    critic={"bottom": [8], "action": 4, "tower": [4], "max_epochs": 1},
    pretrain={"max_epochs": 1},
    finetune={"max_epochs": 1},
)


def problem():
    rng = np.random.default_rng(0)
    tables = [make_table(rng.integers(1, 9, count), cut=(1,), spec=SPEC, seed=count) for count in (30, 20)]
    return Problem(SPEC, GRAPH.tasks, *tables)


def model(name):
    return ModelConfig(
        backbone=name,
        embedding_dim=4,
        bottom=(8,),
        tower=(4,),
        id_dropout=0.1,
    )


@pytest.mark.parametrize("name", ["single_task", "aitm", "examples.own_backbone:TwoPart"])
def test_three_phases_end_with_a_stored_actor_for_every_arm(name, tmp_path):
    run_training(problem(), GRAPH, "item", model(name), TRAINING, seed=1, directory=tmp_path)
    run = read_json(tmp_path / "run.json")
    assert [arm["name"] for arm in run["arms"]] == ["pretrained", "control", "paper"]
    assert run["omega"]["paper"]["buy"]["mean"] > 1
    for arm in run["arms"]:
        logits = Predictor(load_actor(tmp_path, arm["name"], GRAPH), problem().validation)()
        assert logits.shape == (len(problem().validation.timestamp), 2)
        assert np.isfinite(logits).all()


def test_the_critic_starts_from_the_embeddings_of_all_single_tasks(tmp_path):
    trainer = Trainer(
        problem(), model("single_task"), TRAINING, 1, tmp_path / "checkpoints", tmp_path / "logs"
    )
    frozen, _ = trainer.pretrain()
    still = CriticConfig(bottom=(8,), action=4, tower=(4,), max_epochs=1, learning_rate=1e-12)
    critic, _ = trainer.critic(frozen, still, ["paper"])
    table = next(value for value in frozen.weights if value.shape[0] == critic.embedding.total_rows)
    assert table.shape[1] == 2 * 4
    np.testing.assert_allclose(critic.embedding.table, table, atol=1e-9)
