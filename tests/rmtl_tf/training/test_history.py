"""The three phases on states with a history: actors come back with it, critics start from the actor's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rmtl_tf.config import CriticConfig, ModelConfig, TrainingConfig
from rmtl_tf.features.graph import Categorical, Numeric, TransformGraph
from rmtl_tf.features.spec import HistorySpec, HistoryTask
from rmtl_tf.files import read_json
from rmtl_tf.schema import Task
from rmtl_tf.training.phases import Problem, Trainer
from rmtl_tf.training.predict import Predictor
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
TASKS = (HistoryTask("click", "click", 0), HistoryTask("buy", "buy", 90))
SPEC = replace(GRAPH.input_spec(), history=HistorySpec("gru", 3, 1, "item", ("item", "price"), TASKS))
TRAINING = TrainingConfig(
    batch_size=64,
    arms=["control"],
    critic={"bottom": [8], "action": 4, "tower": [4], "max_epochs": 1},
    pretrain={"max_epochs": 1},
    finetune={"max_epochs": 1, "learning_rate": 1e-2},
)


def problem():
    rng = np.random.default_rng(0)
    tables = [make_table(rng.integers(1, 9, count), cut=(1,), spec=SPEC, seed=count) for count in (30, 20)]
    return Problem(SPEC, GRAPH.tasks, *tables)


def model(name):
    return ModelConfig(backbone=name, embedding_dim=4, bottom=(8,), tower=(4,), id_dropout=0.1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    run_training(problem(), GRAPH, "item", model("shared_bottom"), TRAINING, seed=1, directory=directory)
    return directory


def test_a_stored_actor_knows_its_history_and_gives_the_reported_auc(trained):
    from rmtl_tf.training.phases import validation_metrics

    run, table = read_json(trained / "run.json"), problem().validation
    for arm in run["arms"]:
        actor = load_actor(trained, arm["name"], GRAPH)
        assert actor.spec == SPEC
        metrics = validation_metrics(table, Predictor(actor, table)(), ["click", "buy"])
        assert metrics["auc/click"] == pytest.approx(arm["validation_auc"]["click"], abs=1e-12)


def test_what_was_known_of_earlier_records_enters_the_prediction_and_own_labels_do_not(trained):
    actor, table = load_actor(trained, "pretrained", GRAPH), problem().validation
    before = Predictor(actor, table)()
    for row in (0, 4, 11):
        rank = np.flatnonzero(table.history.record == row)
        positive = table.history.positive.copy()
        positive[rank, 0] = np.where(
            positive[rank, 0] == np.iinfo(np.int64).max, table.timestamp[row], np.iinfo(np.int64).max
        )
        after = Predictor(actor, replace(table, history=replace(table.history, positive=positive)))()
        moved = np.flatnonzero((before != after).any(axis=1))
        session = np.flatnonzero(table.session == table.session[row])
        later = session[(table.timestamp[session] > table.timestamp[row])]
        nearest = [r for r in later if table.history.newest[r] - rank[0] < SPEC.history.length]
        np.testing.assert_array_equal(moved, nearest)


def test_equal_seeds_train_to_equal_bits(trained, tmp_path):
    run_training(problem(), GRAPH, "item", model("shared_bottom"), TRAINING, seed=1, directory=tmp_path)
    for arm in ("pretrained", "control"):
        first, second = (load_actor(directory, arm, GRAPH).weights for directory in (trained, tmp_path))
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("name", "alike"), [("shared_bottom", True), ("single_task", False)])
def test_a_critic_starts_from_the_actors_embeddings_and_from_its_history_where_it_is_of_one_part(
    tmp_path, name, alike
):
    trainer = Trainer(problem(), model(name), TRAINING, 1, tmp_path / "checkpoints", tmp_path / "logs")
    frozen, _ = trainer.pretrain()
    still = CriticConfig(bottom=(8,), action=4, tower=(4,), max_epochs=1, learning_rate=1e-12)
    critic, _ = trainer.critic(frozen, still, ["paper"])
    table = next(value for value in frozen.weights if value.shape[0] == critic.embedding.total_rows)
    np.testing.assert_allclose(critic.embedding.table, table, atol=1e-9)
    kernel = next(np.array(w) for w in critic.embedding.history.weights if w.path.endswith("map_0/kernel"))
    own = [value for value in frozen.weights if value.shape == kernel.shape]
    assert any(np.allclose(kernel, value, atol=1e-9) for value in own) == alike
