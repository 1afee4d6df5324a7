"""The simulator's compiled pipeline by kfp's local runner: killed, run again, compared with our runner."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
import yaml

from components.kubeflow.records import RECORDS
from rmtl_tf import serving_versions
from rmtl_tf.files import read_json
from tests.e2e.conftest import ROOT
from tests.e2e.kubeflow_local import (
    Run,
    check_same_results,
    check_same_weights,
    compiled,
    config_of,
    container_command,
    run_locally,
    run_task,
)

SETTINGS = (
    "data.simulate.events=3000",
    "data.session.max_steps=20",
    "model.backbone=shared_bottom",
    "model.embedding_dim=4",
    "model.bottom=[8]",
    "model.tower=[4]",
    "training.batch_size=256",
    "training.checkpoint_steps=2",
    "training.steps_per_execution=2",
    "training.pretrain.max_epochs=2",
    "training.finetune.max_epochs=1",
    "training.critic.bottom=[8]",
    "training.critic.tower=[4]",
    "training.critic.action=4",
    "training.critic.max_epochs=1",
    "training.arms=[control, paper]",
    "evaluation.bootstrap=20",
    "evaluation.min_auc=0",
    "evaluation.max_calibration_error=1",
)
STEPS = [
    "LogSimulator",
    "ExampleGen",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "Evaluator",
    "InfraValidator",
    "Pusher",
    "Reporter",
]


def wait_for(what, seconds=240.0):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("kubeflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield root, compiled(config_of("simulator", root, *SETTINGS), root)


@pytest.fixture(scope="module")
def killed(place):
    """A run whose ExampleGen got signal 9 while it worked."""
    root, file = place
    run = Run(file, root)
    working = wait_for(
        lambda: list(root.glob(f"*/{RECORDS}/ExampleGen.json")) and run.step_process("ExampleGen")
    )
    working.send_signal(signal.SIGKILL)
    return run.wait()


@pytest.fixture(scope="module")
def again(killed, place):
    """The run after it."""
    root, file = place
    run = Run(file, root).wait()
    assert run.error is None, run.error
    return run


def test_a_killed_step_ends_the_run_and_nothing_is_pushed(killed, place):
    root, _ = place
    assert "FAILURE" in str(killed.error)
    assert {path.stem for path in (killed.folder / RECORDS).glob("*.json")} == {
        "LogSimulator",
        "OutsideDigests",
        "ExampleGen",
    }
    assert serving_versions.versions(root / "serving" / "simulator") in ([], [1])


def test_the_exit_handler_says_which_step_was_killed_and_what_there_is(killed, place):
    """As Kubeflow starts it; kfp's local runner starts it only where all steps succeeded."""
    run_task(place[1], "run-report", killed.folder, {"name": "simulator", "steps": STEPS}, ["page"])
    page = (killed.folder / "run-report" / "page").read_text()
    assert "ExampleGen\nwas killed or lost" in page
    assert str(killed.folder / "log-simulator" / "logs") in page
    assert "<tr><td>Trainer</td><td>not run</td>" in page
    assert "<tr><td>LogSimulator</td><td>ran</td>" in page


def test_the_run_after_it_is_what_the_local_runner_makes(again, tmp_path):
    check_same_results(again.folder, run_locally(config_of("simulator", tmp_path, *SETTINGS)))


def test_a_trainer_killed_in_its_container_goes_on_to_the_same_bits(again, place, tmp_path):
    """A retried container has the same command, and the outputs it left where they are on a shared disk."""
    spec = yaml.safe_load(place[1].read_text())
    given = executor_input(spec, again.folder, tmp_path)
    command = container_command(spec, "trainer", given)
    checkpoints = tmp_path / "trainer" / "model_run"
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: list(checkpoints.rglob(".checkpoints/*")))
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert read_json(tmp_path / RECORDS / "Trainer.json")["state"] == "running"
    kept = sorted(checkpoints.rglob(".checkpoints/*"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert kept
    assert not list(checkpoints.rglob(".checkpoints"))
    check_same_weights(again.folder / "trainer" / "model_run", checkpoints)
    assert read_json(tmp_path / RECORDS / "Trainer.json")["state"] == "ran"


def executor_input(spec, finished, folder):
    """What kfp gave the Trainer of a finished run, with outputs below another folder."""
    component = spec["components"]["comp-trainer"]
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    values = {
        name: parameters[name]["defaultValue"]
        for name in component["inputDefinitions"]["parameters"]
        if name in parameters
    }
    for name, each in component["inputDefinitions"]["parameters"].items():
        if each["parameterType"] == "NUMBER_INTEGER":
            values[name] = int(values[name])
    makers = {"examples": "example-gen", "transform_graph": "transform", "transformed": "transform"}

    def artifact(name, uri, kind):
        return {"artifacts": [{"name": name, "uri": str(uri), "type": kind["artifactType"]}]}

    inputs = component["inputDefinitions"]["artifacts"]
    outputs = component["outputDefinitions"]["artifacts"]
    return {
        "inputs": {
            "parameterValues": {**values, "outside": ""},
            "artifacts": {n: artifact(n, finished / makers[n] / n, kind) for n, kind in inputs.items()},
        },
        "outputs": {
            "artifacts": {n: artifact(n, folder / "trainer" / n, kind) for n, kind in outputs.items()},
            "outputFile": str(folder / "trainer" / "executor_output.json"),
        },
    }
