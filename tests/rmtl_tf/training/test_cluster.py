"""Replicas and workers on this machine train as one process does, though they are killed on the way."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json
from rmtl_tf.training.job import train
from rmtl_tf.training.supervise import JOB_FILE
from tests.rmtl_tf.training import jobs

LEAD = """
import sys
from pathlib import Path
from rmtl_tf.files import read_json
from rmtl_tf.training.job import TrainingJob
from rmtl_tf.training.supervise import lead
lead(TrainingJob(**read_json(Path(sys.argv[1]))), Path(sys.argv[2]))
"""
FOLLOW = """
import sys
from pathlib import Path
from rmtl_tf.training.supervise import follow
follow(sys.argv[1], Path(sys.argv[2]))
"""
# float32 sums in another order, over three phases.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return jobs.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """`run.json` of one process that holds both parts."""
    directory = tmp_path_factory.mktemp("alone")
    train(jobs.make_job(data, directory))
    return read_json(directory / "run.json")


@pytest.fixture(scope="module")
def mirrored(data, tmp_path_factory):
    """The folder of a run with two replicas in one process."""
    directory = tmp_path_factory.mktemp("mirrored")
    lead_job(jobs.make_job(data, directory, strategy="mirrored"), directory)
    return directory


def lead_job(job, directory, config=None):
    file = jobs.write_job(job, directory / "given.json")
    log = directory / "log"
    process = jobs.start(["-c", LEAD, str(file), str(directory / JOB_FILE)], config, log)
    with jobs.ended(process):
        assert process.wait(400) == 0, log.read_text()


def losses(run):
    """Every phase's loss by epoch, of the batches and of validation."""
    return {
        (entry["phase"], entry["arm"], entry["epoch"], key): value
        for entry in run["history"]
        for key, value in entry.items()
        if key.startswith(("loss", "logloss", "omega_mean"))
    }


def assert_same_curve(run, expected):
    values, others = losses(run), losses(expected)
    assert values.keys() == others.keys()
    assert len(values) >= 20
    for key, value in values.items():
        assert value == pytest.approx(others[key], rel=TOLERANCE, abs=TOLERANCE), key
    first = [value for key, value in values.items() if key[0] == "pretrain" and key[3] == "loss"]
    assert first[-1] < first[0]  # it learns


def weights(directory):
    import h5py

    found = {}
    for path in sorted((directory / "weights").iterdir()):
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item, stem=path.stem: (
                    found.update({(stem, name): np.array(item)}) if hasattr(item, "shape") else None
                )
            )
    return found


def test_features_in_a_file_train_to_the_same_bits(data, alone, tmp_path):
    train(jobs.make_job(data, tmp_path, records="disk", shuffle_records=1 << 20))
    on_disk = read_json(tmp_path / "run.json")
    assert losses(on_disk) == losses(alone)


def test_two_replicas_have_the_loss_curve_of_one_process(mirrored, alone):
    run = read_json(mirrored / "run.json")
    assert_same_curve(run, alone)
    assert run["records"] == alone["records"]
    assert run["omega"]["rmtl"]["click"] == pytest.approx(alone["omega"]["rmtl"]["click"], rel=1e-2)


def test_two_workers_that_are_killed_end_with_the_bits_of_two_replicas(data, mirrored, alone, tmp_path):
    job = jobs.make_job(data, tmp_path / "run", strategy="multi_worker")
    given, shown, log = jobs.write_job(job, tmp_path / "given.json"), tmp_path / JOB_FILE, tmp_path / "log"
    cluster = {"worker": [f"localhost:{port}" for port in jobs.free_ports(2)]}
    worker = jobs.start(
        ["-c", FOLLOW, "multi_worker", str(shown)], jobs.tf_config(cluster, "worker", 1), tmp_path / "log1"
    )
    chief = jobs.start(
        ["-c", LEAD, str(given), str(shown)], jobs.tf_config(cluster, "worker", 0), tmp_path / "log"
    )
    checkpoints = tmp_path / "run" / ".checkpoints"
    with jobs.ended(worker, chief):
        jobs.wait_until((checkpoints / "pretrain.npz").exists)
        os.kill(jobs.children(worker)[0], signal.SIGKILL)
        jobs.wait_until(lambda: list(checkpoints.glob("critic-*.npz")))
        os.kill(jobs.children(chief)[0], signal.SIGKILL)
        assert chief.wait(400) == 0, log.read_text()
        assert worker.wait(120) == 0
    assert "resumed at epoch" in log.read_text()
    assert log.read_text().count("was lost") >= 2  # one was told by its peer, one was killed itself
    assert not shown.exists()
    assert_same_curve(read_json(tmp_path / "run" / "run.json"), alone)
    values, others = weights(tmp_path / "run"), weights(mirrored)
    assert values.keys() == others.keys()
    for key, value in values.items():
        np.testing.assert_array_equal(value, others[key], err_msg=str(key))


def test_a_parameter_server_with_one_worker_trains_as_one_process(data, alone, tmp_path):
    job = jobs.make_job(data, tmp_path / "run", strategy="parameter_server")
    shown = tmp_path / JOB_FILE
    ports = [f"localhost:{port}" for port in jobs.free_ports(3)]
    cluster = {kind: [port] for kind, port in zip(("chief", "worker", "ps"), ports, strict=True)}
    servers = [
        jobs.start(
            ["-c", FOLLOW, "parameter_server", str(shown)],
            jobs.tf_config(cluster, kind, 0),
            tmp_path / f"log-{kind}",
        )
        for kind in ("worker", "ps")
    ]
    given = jobs.write_job(job, tmp_path / "given.json")
    chief = jobs.start(
        ["-c", LEAD, str(given), str(shown)], jobs.tf_config(cluster, "chief", 0), tmp_path / "log"
    )
    with jobs.ended(chief, *servers):
        assert chief.wait(400) == 0, (tmp_path / "log").read_text()
        assert [server.wait(60) for server in servers] == [0, 0]
    assert_same_curve(read_json(tmp_path / "run" / "run.json"), alone)


def test_a_mistake_in_the_training_reaches_the_person(data, tmp_path):
    from rmtl_tf.training.supervise import lead

    job = jobs.make_job(data, tmp_path, strategy="mirrored", shards=2, batch_size=4)
    with pytest.raises(UserError, match="cannot hold a session window"):
        lead(job, tmp_path / JOB_FILE)
    assert not (tmp_path / JOB_FILE).exists()
