"""The schedules: the cron script works, the others make the calls they should."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from components.run_status import read_status
from tests.e2e.conftest import SMALL

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "examples" / "scheduling"
PIPELINE = REPOSITORY / "tests" / "components" / "kubeflow" / "simulator.yaml"


def nightly(tmp_path: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """What the script does in a repository that has this Python as its environment."""
    place = tmp_path / "repository"
    if not place.exists():
        place.mkdir()
        for name in (
            "pipeline.py",
            "commands",
            "components",
            "rmtl_tf",
            "configs",
            "data_schemas",
            "examples",
        ):
            (place / name).symlink_to(REPOSITORY / name)
        (place / ".venv" / "bin").mkdir(parents=True)
        python = place / ".venv" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
    script = [str(place / "examples" / "scheduling" / "nightly.sh"), "configs/simulator.yaml", *settings]
    environment = {**os.environ, "RMTL_TF_LOGS": str(tmp_path / "logs")}
    return subprocess.run(script, env=environment, capture_output=True, text=True, check=False)


def test_the_cron_script_runs_the_pipeline_and_keeps_its_log(tmp_path: Path) -> None:
    small = [text for text in SMALL if not text.startswith("training.arms")]
    done = nightly(tmp_path, f"root={tmp_path / 'run'}", *small, "training.arms=[control]")
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    (log,) = (tmp_path / "logs").glob("run-*.log")
    assert "Pusher: pushed as version 1" in log.read_text()
    assert read_status(tmp_path / "run")["state"] == "finished"


def test_a_failed_run_ends_the_cron_script_with_its_code_and_the_end_of_its_log(tmp_path: Path) -> None:
    done = nightly(tmp_path, "training.batchsize=1")
    assert done.returncode == 2
    assert 'did you mean "batch_size"?' in done.stderr
    assert "failed with code 2" in done.stderr


def test_the_crontab_starts_the_script_with_a_configuration_that_exists() -> None:
    (line,) = [text for text in (FOLDER / "crontab").read_text().splitlines() if text[:1].isdigit()]
    *when, script, config, override = line.split()
    assert len(when) == 5
    assert script.endswith("/examples/scheduling/nightly.sh")
    assert (REPOSITORY / config).is_file()
    assert override.partition("=")[0] == "training.warm_start"


def stand_ins(monkeypatch: pytest.MonkeyPatch, modules: dict[str, dict[str, Any]]) -> None:
    for name, attributes in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, module)


class Recorder:
    """Takes any call and keeps it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            self.calls.append((name, named))
            return types.SimpleNamespace(submit=self("submit"), create_schedule=self("create_schedule"))

        return call


@pytest.mark.parametrize("cron", [None, "0 3 * * *"])
def test_vertex_gets_the_compiled_file_its_root_and_typed_parameters(
    monkeypatch: pytest.MonkeyPatch, cron: str | None
) -> None:
    from examples.scheduling import vertex_submit

    recorder = Recorder()
    aiplatform = types.SimpleNamespace(init=recorder("init"), PipelineJob=recorder("PipelineJob"))
    stand_ins(monkeypatch, {"google.cloud.aiplatform": {}})
    monkeypatch.setattr("google.cloud.aiplatform", aiplatform, raising=False)
    schedule = [] if cron is None else ["--cron", cron]
    vertex_submit.main(
        [str(PIPELINE), "--project", "p", "--region", "r", *schedule, "--set", "training_batch_size=1024"]
    )
    (_, init), (_, job), (verb, last) = recorder.calls
    assert init == {"project": "p", "location": "r"}
    assert job["template_path"] == str(PIPELINE)
    assert job["pipeline_root"] == "s3://bucket/rmtl"
    assert job["parameter_values"] == {"training_batch_size": 1024}
    assert verb == ("submit" if cron is None else "create_schedule")
    assert last.get("cron") == cron


def test_the_dag_runs_and_then_cleans_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against stand-ins of the three names it takes from Airflow."""
    dags: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    order: list[tuple[str, str]] = []

    class DAG:
        def __init__(self, **named: Any) -> None:
            dags.append(named)

        def __enter__(self) -> DAG:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    class BashOperator:
        def __init__(self, **named: Any) -> None:
            self.named = named
            tasks.append(named)

        def __rshift__(self, other: BashOperator) -> None:
            order.append((self.named["task_id"], other.named["task_id"]))

    bash = "airflow.providers.standard.operators.bash"
    parents = {bash.rsplit(".", count)[0]: {} for count in range(1, 5)}
    stand_ins(monkeypatch, {**parents, bash: {"BashOperator": BashOperator}, "airflow.sdk": {"DAG": DAG}})
    file = FOLDER / "airflow_dag.py"
    exec(compile(file.read_text(), str(file), "exec"), {"__name__": "dag"})
    assert (dags[0]["max_active_runs"], dags[0]["catchup"], dags[0]["schedule"]) == (1, False, "0 3 * * *")
    assert dags[0]["default_args"]["retry_delay"] == timedelta(minutes=5)
    assert order == [("run", "gc")]
    for task, command in zip(tasks, ("run", "gc"), strict=True):
        assert (
            f"pipeline.py {command} --config configs/simulator.yaml --set root=runs/airflow"
            in task["bash_command"]
        )
