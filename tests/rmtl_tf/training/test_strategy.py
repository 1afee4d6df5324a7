"""What a strategy cannot train is refused by name, before anything is read."""

from __future__ import annotations

import json

import pytest

from rmtl_tf.config import TrainingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.training.strategy import check_strategy, own_task
from rmtl_tf.training.supervise import follow, lead
from tests.rmtl_tf.training import jobs

WORKERS = {"worker": ["a:1", "b:1"]}
SERVERS = {"chief": ["c:1"], "worker": ["a:1"], "ps": ["p:1"]}


def training(strategy, weighting="constant", agent="rmtl", **others):
    arm = {"name": "mine", "agent": agent}
    if agent in ("rmtl", "joint"):
        arm["weighting"] = {"name": weighting}
    return TrainingConfig(strategy=strategy, arms=["control", arm], **others)


@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker", "parameter_server"])
@pytest.mark.parametrize("name", ["pcgrad", "nash_mtl"])
def test_gradient_methods_are_refused(strategy, name):
    with pytest.raises(UserError, match=f"arm mine: .*gradient method {name}"):
        check_strategy(training(strategy, name))


@pytest.mark.parametrize("agent", ["joint", "ddpg", "td3_bc"])
def test_agents_that_learn_both_are_refused(agent):
    with pytest.raises(UserError, match=f"expected the agent rmtl, received {agent}"):
        check_strategy(training("multi_worker", "rmtl", agent))


def test_state_is_refused_where_workers_do_not_wait():
    with pytest.raises(UserError, match="without state, received dwa"):
        check_strategy(training("parameter_server", "dwa"))
    check_strategy(training("multi_worker", "dwa"))
    check_strategy(training("parameter_server", "rmtl"))


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [({"tables": "adam"}, "adam_lazy, or dense"), ({"clip_norm": 1.0}, "no clipping"),
     ({"clip_variable_norm": 1.0}, "no clipping")],
)  # fmt: skip
def test_what_an_optimizer_does_with_a_part_of_the_gradient_is_refused(optimizer, words):
    with pytest.raises(UserError, match=words):
        check_strategy(training("mirrored", optimizer=optimizer))
    check_strategy(training("none", optimizer=optimizer))


def test_one_process_takes_everything():
    check_strategy(training("none", "pcgrad"))
    check_strategy(training("none", agent="ddpg"))


def test_parts_divide_the_batch():
    with pytest.raises(UserError, match="divisor of batch_size 100, received 3"):
        check_strategy(training("none", batch_size=100, shards=3))


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"cluster": {}}', jobs.tf_config(WORKERS, "worker", 2), jobs.tf_config(WORKERS, "ps", 0)],
)
def test_a_wrong_tf_config_is_shown_with_a_right_one(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=r"TF_CONFIG like \{.*worker.*received"):
        own_task("multi_worker")


def test_the_kinds_of_a_cluster_fit_the_strategy(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", jobs.tf_config(SERVERS, "worker", 0))
    assert own_task("parameter_server").kind == "worker"
    with pytest.raises(UserError, match=r"kinds \['worker'\], received"):
        own_task("multi_worker")
    monkeypatch.setenv("TF_CONFIG", jobs.tf_config(WORKERS, "worker", 0))
    with pytest.raises(UserError, match="kinds"):
        own_task("parameter_server")


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "chief"),
    [(WORKERS, "worker", 0, True), (WORKERS, "worker", 1, False), (SERVERS, "worker", 0, False),
     (SERVERS, "chief", 0, True)],
)  # fmt: skip
def test_the_first_worker_is_chief_where_none_is_named(cluster, kind, index, chief, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))
    strategy = "multi_worker" if cluster is WORKERS else "parameter_server"
    assert own_task(strategy).is_chief is chief


def test_the_wrong_command_names_the_right_one(monkeypatch, tmp_path):
    monkeypatch.setenv("TF_CONFIG", jobs.tf_config(WORKERS, "worker", 0))
    with pytest.raises(UserError, match=r"pipeline\.py run"):
        follow("multi_worker", tmp_path / "job")
    monkeypatch.setenv("TF_CONFIG", jobs.tf_config(WORKERS, "worker", 1))
    with pytest.raises(UserError, match=r"pipeline\.py worker"):
        lead(jobs.make_job(tmp_path, tmp_path / "run", strategy="multi_worker"), tmp_path / "job")
    assert not (tmp_path / "job").exists()
