"""Compiled pipelines worked by kfp's own local runner, a process for each step, beside our local runner."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import yaml
from kfp import components, local

import pipeline
from components.kubeflow.compiler import compile_pipeline
from components.runner import run
from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.files import digest_tree, read_json
from tests.e2e.conftest import ROOT, only

# Artifacts that are the same bytes, and the components that make them; the others hold times or paths.
SAME_BYTES = {
    "logs": "LogSimulator",
    "examples": "ExampleGen",
    "anomalies": "ExampleValidator",
    "transform_graph": "Transform",
    "transformed": "Transform",
    "blessing": "Evaluator",
}


def config_of(name: str, root: Path, *overrides: str) -> RunConfig:
    return load_config(ROOT / "configs" / f"{name}.yaml", [f"root={root}", *overrides])


def compiled(config: RunConfig, root: Path) -> Path:
    """The file with the pipeline that keeps its artifacts below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    file = root / "pipeline.yaml"
    file.write_text(compile_pipeline(config, pipeline.create_pipeline, "python-rmtl-tf:1", str(root)))
    return file


class Run:
    """One run of a compiled pipeline; it begins when made."""

    def __init__(self, file: Path, root: Path, **arguments: Any) -> None:
        self._before = set(root.glob("*"))
        self._root = root
        self.error: BaseException | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._pipeline = components.load_component_from_file(str(file))
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
        self._thread = threading.Thread(target=self._work, kwargs=arguments)
        self._thread.start()

    def _work(self, **arguments: Any) -> None:
        try:
            self._pipeline(**arguments)
        except BaseException as error:
            self.error = error

    def wait(self) -> Run:
        self._thread.join()
        return self

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def folder(self) -> Path:
        """Of this run: the one that was not there before it."""
        found = [path for path in self._root.glob("*-20*") if path not in self._before]
        assert len(found) == 1, found
        return found[0]

    def step_process(self, step: str) -> psutil.Process | None:
        """The process of a step, when it runs."""
        for process in psutil.Process().children(recursive=True):
            try:
                command = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if command[-2:] == ["--function_to_execute", step]:
                return process
        return None


def run_task(file: Path, task: str, folder: Path, values: dict[str, Any], outputs: list[str]) -> None:
    """Runs a task's command as Kubeflow's launcher does, with its outputs in a run's folder."""
    spec = yaml.safe_load(file.read_text())
    types = spec["components"][f"comp-{task}"]["outputDefinitions"]["artifacts"]
    given = {
        "inputs": {"parameterValues": values},
        "outputs": {
            "artifacts": {
                name: {
                    "artifacts": [
                        {"name": name, "uri": str(folder / task / name), "type": types[name]["artifactType"]}
                    ]
                }
                for name in outputs
            },
            "outputFile": str(folder / task / "executor_output.json"),
        },
    }
    done = subprocess.run(
        container_command(spec, task, given), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def container_command(spec: dict[str, Any], task: str, given: dict[str, Any]) -> list[str]:
    """A task's command with what kfp's launcher fills in; this Python in the place of the image's."""
    container = spec["deploymentSpec"]["executors"][f"exec-{task}"]["container"]
    words = [*container["command"], *container["args"]]
    return [word.replace("python3", sys.executable).replace("{{$}}", json.dumps(given)) for word in words]


def run_locally(config: RunConfig) -> dict[str, Path]:
    """The artifacts of the same configuration up to the evaluation, from our local runner."""
    components = pipeline.create_pipeline(config)
    last = [component.name for component in components].index("Evaluator")
    steps = run(components[: last + 1], config.pipeline_root)
    return {key: path for step in steps for key, path in step.outputs.items()}


def weights(model_run: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for file in sorted((model_run / "weights").glob("*.weights.h5")):
        with h5py.File(file) as stored:
            stored.visititems(
                lambda name, item, arm=file.name: (
                    found.update({f"{arm}/{name}": item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
    return found


def check_same_weights(first: Path, second: Path) -> None:
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    assert one
    for name, values in one.items():
        assert values.tobytes() == other[name].tobytes(), name


def check_same_results(folder: Path, artifacts: dict[str, Path]) -> None:
    """Every artifact of a run in `folder` is what the local runner made."""
    for key, step in SAME_BYTES.items():
        if key in artifacts:
            found = only(folder, f"*/{key}")
            assert digest_tree(found) == digest_tree(artifacts[key]), (step, key)
    check_same_weights(folder / "trainer" / "model_run", artifacts["model_run"])
    theirs, ours = (
        read_json(path / "evaluation.json")
        for path in (folder / "evaluator" / "evaluation", artifacts["evaluation"])
    )
    assert theirs == ours
    with (
        np.load(folder / "evaluator" / "evaluation" / "predictions.npz") as one,
        np.load(artifacts["evaluation"] / "predictions.npz") as other,
    ):
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])
