"""A critic trained in one run weighs the losses of another run with another backbone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rmtl_tf.config import ModelConfig, TrainingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.features.graph import Categorical, Numeric, TransformGraph
from rmtl_tf.files import digest_tree, read_json
from rmtl_tf.rl.critic_io import load_critic, read_metadata
from rmtl_tf.schema import Task
from rmtl_tf.training.critics import Critics
from rmtl_tf.training.phases import Trainer, critic_name
from rmtl_tf.training.problem import Problem
from rmtl_tf.training.run import run_training
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
SMALL = {"bottom": [8], "action": 4, "tower": [4], "max_epochs": 2}


def problem(tasks=GRAPH.tasks):
    rng = np.random.default_rng(0)
    tables = [make_table(rng.integers(1, 9, count), cut=(1,), spec=SPEC, seed=count) for count in (40, 30)]
    return Problem(SPEC, tasks, *tables)


def model(backbone, width=4):
    return ModelConfig(backbone=backbone, embedding_dim=width, bottom=(8,), tower=(4,), experts=2)


def training(*arms, **critic):
    return TrainingConfig(
        batch_size=64,
        arms=["control", *arms],
        critic={**SMALL, **critic},
        pretrain={"max_epochs": 2},
        finetune={"max_epochs": 1, "learning_rate": 1e-3},
    )


def loading(folder, **changes):
    return {"name": "transfer", "weighting": {"name": "rmtl"}, "critic": {"load": str(folder)}, **changes}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run on MMoE with an n-step twin critic."""
    directory = tmp_path_factory.mktemp("source")
    config = training("paper", form="twin", target="nstep", loss="huber", output="relu", n=3)
    run_training(problem(), GRAPH, "item", model("mmoe"), config, seed=1, directory=directory)
    return directory


@pytest.fixture(scope="module")
def saved(source):
    return source / "critics" / read_json(source / "run.json")["critic_folders"]["paper"]


def test_a_run_saves_its_critic_with_settings_and_tasks(saved):
    metadata = read_metadata(saved)
    assert metadata["tasks"] == ["click", "buy"]
    assert (metadata["gamma"], metadata["backbone"]) == (0.95, "mmoe")
    assert (metadata["settings"]["form"], metadata["settings"]["target"]) == ("twin", "nstep")
    assert set(metadata["encoding"]) == {"user", "item", "price"}


def test_another_backbone_is_fine_tuned_with_the_saved_critic(saved, tmp_path):
    """omega is 1 - lambda Q of the saved critic; no critic is trained, and the run keeps a copy."""
    before = digest_tree(saved)
    run_training(
        problem(), GRAPH, "item", model("shared_bottom"), training(loading(saved)), seed=3, directory=tmp_path
    )
    assert digest_tree(saved) == before
    run = read_json(tmp_path / "run.json")
    assert [entry["phase"] for entry in run["history"]].count("critic") == 0
    assert set(run["critics"]["transfer"]["click"]) == {"correlation", "bias", "q_mean", "return_mean"}
    copy = tmp_path / "critics" / run["critic_folders"]["transfer"]
    assert digest_tree(copy) == before
    assert not list((tmp_path / ".checkpoints").glob("critic*"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard" / "critic-transfer"))
    events.Reload()  # a critic from elsewhere is judged on this run's held-out sessions too
    wanted = {"critic/validation_bias/click", "critic/validation_correlation/buy"}
    assert wanted <= set(events.Tags()["tensors"])
    with np.load(tmp_path / "omega.npz") as omega:
        mean = omega["transfer"].mean(axis=0)
    critic = load_critic(saved, SPEC, 2)
    train = problem().train
    from rmtl_tf.training.predict import Predictor
    from rmtl_tf.training.run import load_actor

    logits = Predictor(load_actor(tmp_path, "pretrained", GRAPH), train)()
    q = Predictor(critic, train, {"actions": 1 / (1 + np.exp(-logits))})()[train.records]
    np.testing.assert_allclose(mean, (1 - 0.7 * q).mean(axis=0), rtol=1e-4)


def prepare(tmp_path, config, graph=GRAPH, width=4, tasks=GRAPH.tasks):
    trainer = Trainer(problem(tasks), model("mmoe", width), config, 1, tmp_path / "c", tmp_path / "logs")
    return Critics(trainer, graph, tmp_path)


def test_equal_vocabulary_sizes_with_other_values_are_refused_before_training(saved, tmp_path):
    other = (Categorical("user", tuple("abcdf"), is_id=True), *GRAPH.features[1:])
    with pytest.raises(UserError, match="encoding: user: the critic has") as error:
        prepare(tmp_path, training(loading(saved)), dataclasses.replace(GRAPH, features=other))
    assert "encoding: item" not in str(error.value)
    assert not (tmp_path / "c").exists()


def test_another_width_and_other_tasks_are_refused_by_name(saved, tmp_path):
    tasks = (Task("click"), Task("like"))
    with pytest.raises(UserError, match=r"embedding width: .*4, here 6") as error:
        prepare(tmp_path, training(loading(saved)), width=6, tasks=tasks)
    assert "here ['click', 'like']" in str(error.value)


def test_a_saved_critic_for_a_weighting_without_q_is_refused(saved, tmp_path):
    arm = loading(saved, weighting={"name": "session_balanced"})
    with pytest.raises(UserError, match=r"session_balanced.*reads no critic"):
        prepare(tmp_path, training(arm))


def test_arms_with_equal_critics_share_one_and_others_do_not(tmp_path):
    arms = [{"name": name, "weighting": {"name": "rmtl"}, "critic": critic} for name, critic in ARMS.items()]
    config = training(*arms, max_epochs=1)
    critics = prepare(tmp_path, config)
    trainer = critics._trainer
    frozen, _ = trainer.pretrain()
    used = {arm.name: critics.of(arm, frozen) for arm in config.arms}
    assert used["control"] is None
    assert used["a"] is used["b"]
    assert len({id(used[name]) for name in "acd"}) == 3
    assert {path.name for path in (tmp_path / "critics").iterdir()} == {used[name].name for name in "acd"}
    assert used["c"].name == critic_name(config.critic_of(config.arms[3]))


ARMS = {"a": {}, "b": {}, "c": {"target": "monte_carlo"}, "d": {"form": "separate"}}
