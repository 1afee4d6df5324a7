"""The three phases end to end on small tables, and what they leave on disk."""

from __future__ import annotations

import numpy as np
import pytest

from rmtl_tf.config import ModelConfig, TrainingConfig
from rmtl_tf.features.graph import Categorical, Numeric, TimePart, TransformGraph
from rmtl_tf.files import read_json
from rmtl_tf.schema import Task
from rmtl_tf.training.predict import Predictor
from rmtl_tf.training.problem import Problem
from rmtl_tf.training.run import load_actor, run_training
from rmtl_tf.training.summary import Summary
from rmtl_tf.training.validation import validation_metrics
from tests.conftest import make_table

GRAPH = TransformGraph(
    features=(
        Categorical("user", tuple("abcde"), is_id=True),
        Categorical("item", tuple("abcdefghi"), is_id=True),
        Numeric("price", 0.0, 1.0),
        TimePart("hour", "t"),
    ),
    tasks=(Task("click"), Task("buy", parent="click")),
    labels=("click", "buy"),
    timestamp="t",
)
MODEL = ModelConfig(backbone="mmoe", embedding_dim=4, bottom=(8,), tower=(4,), experts=2)
CRITIC = {"bottom": [8], "action": 4, "tower": [4], "max_epochs": 2}
TRAINING = TrainingConfig(
    batch_size=64,
    arms=["control", "paper", {"name": "mc", "weighting": {"name": "monte_carlo"}}, "recommended"],
    critic=CRITIC,
    pretrain={"max_epochs": 3},
    finetune={"max_epochs": 2, "learning_rate": 1e-3},
)
SPEC = GRAPH.input_spec()


def problem():
    rng = np.random.default_rng(0)
    tables = [make_table(rng.integers(1, 9, count), cut=(1,), spec=SPEC, seed=count) for count in (60, 40)]
    return Problem(SPEC, GRAPH.tasks, *tables)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    run_training(problem(), GRAPH, "item", MODEL, TRAINING, seed=1, directory=directory)
    return directory


def test_summary_has_every_arm_with_the_pretrained_first(trained):
    run = read_json(trained / "run.json")
    assert [arm["name"] for arm in run["arms"]] == ["pretrained", "control", "paper", "mc", "recommended"]
    scores = {arm["name"]: arm["validation"]["auc"] for arm in run["arms"]}
    best = max(scores.values())
    assert run["export"] == next(
        arm for arm in ("control", "paper", "mc", "recommended") if scores[arm] == best
    )
    assert set(run["critics"]) == {"paper", "recommended"}
    assert set(run["omega"]) == {"control", "paper", "mc", "recommended"}
    assert run["omega"]["control"]["click"] == {"mean": 1.0, "std": 0.0, "max": 1.0, "p50": 1.0, "p99": 1.0}
    assert run["omega"]["paper"]["click"]["mean"] > 1
    assert run["omega"]["recommended"]["buy"]["mean"] == pytest.approx(1, abs=0.2)
    folders = {path.name for path in (trained / "critics").iterdir()}
    assert folders == set(run["critic_folders"].values())
    assert set(run["critic_folders"]) == {"paper", "recommended"}
    phases = {(entry["phase"], entry["arm"]) for entry in run["history"]}
    assert ("critic", "paper") in phases
    assert ("pretrain", "pretrained") in phases


def test_fine_tuning_never_ends_below_the_pretrained_validation_auc(trained):
    arms = read_json(trained / "run.json")["arms"]
    bar = np.mean(list(arms[0]["validation_auc"].values()))
    for arm in arms[1:]:
        assert np.mean(list(arm["validation_auc"].values())) >= bar - 1e-12
        assert arm["incumbent_kept"] == (arm["best_epoch"] == 0)


def test_saved_weights_give_the_validation_auc_that_was_reported(trained):
    table = problem().validation
    for arm in read_json(trained / "run.json")["arms"]:
        logits = Predictor(load_actor(trained, arm["name"], GRAPH), table)()
        metrics = validation_metrics(table, logits, ["click", "buy"])
        assert metrics["auc/click"] == pytest.approx(arm["validation_auc"]["click"], abs=1e-12)


def test_equal_seeds_train_to_equal_bits_whatever_is_logged(trained, tmp_path):
    logging_more = TRAINING.model_copy(update={"log_steps": 1})
    run_training(problem(), GRAPH, "item", MODEL, logging_more, seed=1, directory=tmp_path)
    for arm in ("pretrained", "control", "paper", "mc", "recommended"):
        first, second = (load_actor(directory, arm, GRAPH).weights for directory in (trained, tmp_path))
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
    with np.load(trained / "omega.npz") as first, np.load(tmp_path / "omega.npz") as second:
        for arm in first.files:
            np.testing.assert_array_equal(first[arm], second[arm])


def test_weightings_that_read_the_frozen_actor_or_task_gradients_train_end_to_end(tmp_path):
    arms = [
        {"name": name, "weighting": {"name": name}} for name in ("entropy", "advantage", "famo", "cagrad")
    ]
    phase = {"max_epochs": 1}
    training = TrainingConfig(
        batch_size=64, arms=["control", *arms], critic=CRITIC, pretrain=phase, finetune=phase
    )
    run_training(problem(), GRAPH, "item", MODEL, training, seed=1, directory=tmp_path)
    run = read_json(tmp_path / "run.json")
    assert set(run["critics"]) == {"advantage"}
    assert 0 < run["omega"]["entropy"]["click"]["mean"] < run["omega"]["entropy"]["click"]["max"] <= 1
    assert run["omega"]["advantage"]["buy"]["std"] > 0
    assert run["omega"]["cagrad"]["click"]["mean"] == 1
    with np.load(tmp_path / "omega.npz") as omega:
        actor = load_actor(tmp_path, "pretrained", GRAPH)
        table = problem().train
        p = 1 / (1 + np.exp(-Predictor(actor, table)()[table.records].astype(np.float64)))
        expected = 1 / (1 - 5 * (p * np.log(p) + (1 - p) * np.log(1 - p)))
        np.testing.assert_allclose(omega["entropy"], expected, rtol=1e-4)
    entries = [entry for entry in run["history"] if entry["arm"] == "cagrad"]
    assert entries


def read_events(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory))
    events.Reload()
    return events


def test_tensorboard_shows_losses_omega_values_and_embeddings(trained):
    logs = trained / "tensorboard"
    phases = {"pretrain", "finetune-control", "finetune-paper", "finetune-mc", "finetune-recommended"}
    critics = {"critic-paper", "critic-recommended"}
    assert {path.name for path in logs.iterdir()} == phases | critics | {"overview", "hparams"}
    tags = {run: set(read_events(logs / run).Tags()["tensors"]) for run in phases | critics | {"overview"}}
    assert {"actor/validation_auc/click", "actor/train_loss/buy", "omega/buy"} <= tags["finetune-paper"]
    assert not any("omega" in tag for tag in tags["pretrain"] | tags["finetune-control"])
    wanted = {"critic/q_against_return/buy", "critic/validation_correlation/click"}
    assert wanted <= tags["critic-paper"] & tags["critic-recommended"]
    assert {"configuration", "guide"} <= tags["overview"]
    labels = (logs / "overview" / "metadata.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in labels] == ["item", "(unknown)", *"abcdefghi"]
    assert {path.name for path in (logs / "hparams").iterdir()} == {
        "pretrained",
        "control",
        "paper",
        "mc",
        "recommended",
    }


def test_hparams_hold_what_an_arm_trains_with_and_no_setting_without_effect(trained):
    from tensorboard.plugins.hparams import metadata

    found = {}
    for path in (trained / "tensorboard" / "hparams").iterdir():
        content = read_events(path).SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        info = metadata.parse_session_start_info_plugin_data(content)
        assert info.group_name.startswith(f"{path.name}-")
        found[path.name] = {key: value.string_value for key, value in info.hparams.items()}
    assert found["paper"]["critic/gamma"] == "0.95"
    assert found["paper"]["weighting/power"] == "1.0"
    assert found["recommended"]["weighting/power"] == "-1.0"
    assert found["control"]["weighting/name"] == "constant"
    assert [key for key in found["control"] if key.startswith("weighting/")] == ["weighting/name"]
    assert not [key for arm in ("control", "mc", "pretrained") for key in found[arm] if "critic/" in key]


def test_equal_arms_export_the_control_and_a_named_arm_is_exported_whatever_its_score():
    summary = Summary(problem(), MODEL, TRAINING, seed=0)
    for name, score in (("pretrained", 0.9), ("control", 0.7), ("paper", 0.7), ("recommended", 0.6)):
        summary.values["arms"].append({"name": name, "validation": {"auc": score}})
    assert summary.choose("best") == "control"
    assert summary.choose("recommended") == "recommended" == summary.values["export"]
    summary.values["arms"][2]["validation"]["auc"] = 0.71
    assert summary.choose("best") == "paper"


def test_mixed_precision_trains_float32_weights_that_are_judged_in_float32(tmp_path):
    """Not the bits of float32 training, but what bfloat16 makes of them; and no logit is a bfloat16."""
    phase, logits = {"max_epochs": 1}, {}
    for precision, arms in (("float32", ["control"]), ("mixed_bfloat16", ["control", "paper"])):
        directory = tmp_path / precision
        training = TrainingConfig(
            batch_size=64, arms=arms, critic=CRITIC, pretrain=phase, finetune=phase, precision=precision
        )
        run_training(problem(), GRAPH, "item", MODEL, training, seed=1, directory=directory)
        actor = load_actor(directory, "control", GRAPH)
        assert {variable.dtype for variable in actor.trainable_variables} == {"float32"}
        logits[precision] = Predictor(actor, problem().validation)()
        assert logits[precision].dtype == np.float32
        control = read_json(directory / "run.json")["arms"][1]
        metrics = validation_metrics(problem().validation, logits[precision], ["click", "buy"])
        assert metrics["auc/buy"] == pytest.approx(control["validation_auc"]["buy"], abs=1e-12)
    full, mixed = logits.values()
    assert (full != mixed).any()
    assert np.corrcoef(full.ravel(), mixed.ravel())[0, 1] > 0.99
