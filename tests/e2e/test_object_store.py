"""Whole runs with the root on an object store: killed, gone on with, cached, and as a local run's."""

from __future__ import annotations

import signal
import subprocess
import time

import h5py
import numpy as np
import pytest

import pipeline
from components.lineage import raw_files, read_step
from components.run_status import read_status
from components.store import EXECUTION_FILE
from rmtl_tf import serving_versions, storage
from rmtl_tf.files import digest_file, digest_json, digest_tree, read_json
from rmtl_tf.places import SCRATCH, twin
from tests.e2e.conftest import ROOT, command, only, run_pipeline

ONE_ARM = "training.arms=[control]"
SAME = ("ExampleGen", "ExampleValidator", "Transform")  # the same bytes, however they are made


@pytest.fixture(scope="module")
def logs(module_bucket, tmp_path_factory):
    """Raw logs, on the store and in a local folder."""
    from rmtl_tf.config import SimulatorConfig
    from rmtl_tf.data.simulator import simulate

    folder = tmp_path_factory.mktemp("logs")
    simulate(folder, SimulatorConfig(events=4000))
    storage.publish(folder, module_bucket / "logs")
    return module_bucket / "logs", folder


@pytest.fixture(scope="module")
def killed_and_finished(module_bucket, logs):
    """(root, process) of a run on the store that was killed while it trained, and run again."""
    root = module_bucket / "runs" / "shop"
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        command(root, ONE_ARM, f"data.path={logs[0]}"), cwd=ROOT, start_new_session=True, **pipes
    )
    try:
        while not list(twin(root).glob("Trainer/.work-*/model_run/.checkpoints/*")):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert read_status(root)["state"] == "interrupted"
    assert not list(root.glob("Trainer/*"))
    process = run_pipeline(root, ONE_ARM, f"data.path={logs[0]}")
    assert process.returncode == 0, process.stderr
    return root, process


@pytest.fixture(scope="module")
def local(logs, tmp_path_factory):
    """The root of the same run on the local disk."""
    root = tmp_path_factory.mktemp("local")
    process = run_pipeline(root, ONE_ARM, f"data.path={logs[1]}")
    assert process.returncode == 0, process.stderr
    return root


def settings(root, logs):
    line = command(root, ONE_ARM, f"data.path={logs[0]}")
    return line[line.index("--config") :]


def test_a_killed_and_rerun_run_on_the_store_is_a_local_run_bit_for_bit(killed_and_finished, local):
    root, process = killed_and_finished
    assert "Pusher: pushed as version 1" in process.stdout
    for step in SAME:
        remote = {name: digest_tree(only(root, f"{step}/*/{name}")) for name in output_names(local, step)}
        assert remote == {name: digest_tree(only(local, f"{step}/*/{name}")) for name in remote}
    model = "Trainer/*/model/Format-Serving"
    for part in ("variables", "assets"):
        ours, theirs = (digest_tree(only(place, model) / part) for place in (root, local))
        assert ours == theirs
        assert ours
    weights = "Trainer/*/model_run/weights/control.weights.h5"
    assert stored(storage.local(only(root, weights))) == stored(only(local, weights))
    numbers = "Evaluator/*/evaluation/predictions.npz"
    ours, theirs = (np.load(storage.local(only(place, numbers))) for place in (root, local))
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name])
    ours, theirs = (read_json(only(p, "Evaluator/*/evaluation/evaluation.json")) for p in (root, local))
    assert ours == theirs


def output_names(root, step):
    return list(read_json(only(root, f"{step}/*/{EXECUTION_FILE}"))["outputs"])


def stored(file):
    found = {}
    with h5py.File(file) as weights:
        weights.visititems(
            lambda name, item: found.update(
                {name: item[()].tobytes()} if isinstance(item, h5py.Dataset) else {}
            )
        )
    assert found
    return found


def test_everything_on_the_store_is_what_was_recorded(killed_and_finished):
    root, _ = killed_and_finished
    records = sorted(root.glob(f"[!.]*/*/{EXECUTION_FILE}"))
    assert [path.parent.parent.name for path in records] == sorted(
        step["name"] for step in read_status(root)["steps"]
    )
    for record in records:
        for key, output in read_json(record)["outputs"].items():
            assert digest_json(digest_tree(record.parent / key)) == output["digest"]
    versions = root / "serving" / "simulator"
    assert serving_versions.versions(versions) == [1]
    assert serving_versions.verify(versions / "1") == []


def test_lineage_of_the_pushed_model_names_the_raw_files_on_the_store(killed_and_finished, logs, capsys):
    root, _ = killed_and_finished
    assert pipeline.main(["lineage", "1", "--check", *settings(root, logs)]) == 0
    text = capsys.readouterr().out
    for file in logs[1].glob("*.csv"):
        assert f"{digest_file(file)}  ExampleGen: raw file {file.name}" in text
    assert "artifacts are what was recorded" in text
    example_gen = only(root, f"ExampleGen/*/{EXECUTION_FILE}").parent
    assert raw_files(read_step(example_gen))["events.csv"] == digest_file(logs[1] / "events.csv")


def test_the_report_has_the_lineage_of_steps_that_ran_before_the_kill(killed_and_finished):
    root, _ = killed_and_finished
    page = storage.local(only(root, "Reporter/*/report/report.html")).read_text()
    for name in ("ExampleGen", "Transform", "Trainer", "Evaluator"):
        key = only(root, f"{name}/*/{EXECUTION_FILE}").parent.name
        assert key[:8] in page


def test_a_rerun_on_another_machine_is_cached_and_imports_no_tensorflow(
    killed_and_finished, logs, tmp_path, monkeypatch
):
    root, _ = killed_and_finished
    monkeypatch.setenv(SCRATCH, str(tmp_path))
    line = command(root, ONE_ARM, f"data.path={logs[0]}")
    process = subprocess.run(
        [line[0], "-X", "importtime", *line[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert {step["state"] for step in read_status(root)["steps"]} == {"cached"}
    imported = {text.rpartition("|")[2].strip() for text in process.stderr.splitlines() if "|" in text}
    assert "s3fs" in imported
    assert not {"tensorflow", "keras", "apache_beam"} & imported


def test_status_push_canary_promote_rollback_and_gc(killed_and_finished, logs, capsys):
    root, _ = killed_and_finished
    serving = root / "serving" / "simulator"
    options = settings(root, logs)

    def call(*arguments):
        assert pipeline.main([*arguments, *options]) == 0
        return capsys.readouterr().out

    assert f"Run simulator in {root}: finished" in call("status")
    assert "Version 1 holds this model already" in call("push")
    # A second version, so that there is one to go back from.
    model = storage.local(only(root, "Trainer/*/model")) / "Format-Serving"
    other = twin(root).parent / "other"
    for file in model.rglob("*"):
        if file.is_file():
            (other / file.relative_to(model)).parent.mkdir(parents=True, exist_ok=True)
            (other / file.relative_to(model)).write_bytes(file.read_bytes())
    (other / "assets.extra").mkdir()
    (other / "assets.extra" / "note").write_text("other")
    assert serving_versions.push(other, serving, 5, label="canary").version == 2
    assert "Version 2 is stable, in place of 1" in call("promote")
    assert f"Version 2 is taken back; TF Serving serves version 1 of {serving}" in call("rollback")
    assert serving_versions.versions(serving) == [1]
    assert "0 outputs of steps removed" in call("gc")
    assert "Pushed versions" in call("status")


def test_a_missing_bucket_is_one_sentence_that_says_what_to_do(module_bucket, capsys):
    assert pipeline.main(["run", "--config", "configs/simulator.yaml", "--set", "root=s3://no-bucket/x"]) == 2
    assert capsys.readouterr().err == (
        "error: Object store: there is no bucket no-bucket. Create it, or give another place (--set "
        "root=s3://BUCKET/PREFIX, data.path, push.directory).\n"
    )
