"""What happens in a step's container, without a container."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipeline
from components.base import Component
from components.kubeflow.fields import values_of
from components.kubeflow.interface import STEPS, has_outside, parameter_name, signature
from components.kubeflow.records import RECORDS
from components.kubeflow.step import run_step
from components.log_simulator import LogSimulator
from components.store import CHECKPOINTS
from rmtl_tf.config import RunConfig, SimulatorConfig
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file, digest_json, digest_tree, read_json

REPOSITORY = Path(__file__).resolve().parents[3]


def config(**sections: Any) -> RunConfig:
    push = sections.pop("push", {"directory": "models"})
    return RunConfig.model_validate({"name": "shop", "push": push, **sections})


def artifact(path: Path) -> Any:
    return SimpleNamespace(path=str(path), uri=str(path), metadata={})


def outside_of(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Step -> the digest that OutsideDigests gives it."""
    values = {
        parameter_name(step): folder / f"value-{parameter_name(step)}" for step in STEPS if has_outside(step)
    }
    given = {
        **values_of(config),
        "steps": [type(component).__name__ for component in pipeline.create_pipeline(config)],
        "digests": artifact(folder / "run" / "outside-digests" / "digests"),
        **{name: str(path) for name, path in values.items()},
    }
    run_step("OutsideDigests", given, pipeline.create_pipeline)
    return {name: path.read_text() for name, path in values.items()}


class TestStep:
    def test_the_component_runs_with_the_parameters_and_says_what_it_made(self, tmp_path: Path) -> None:
        logs = artifact(tmp_path / "run" / "log-simulator" / "logs")
        given = {"logs": logs, **values_of(config(data={"simulate": {"events": 300, "seed": 5}}))}
        run_step("LogSimulator", given, pipeline.create_pipeline)
        expected = tmp_path / "expected"
        expected.mkdir()
        LogSimulator.execute({}, {"logs": expected}, SimulatorConfig(events=300, seed=5))
        assert digest_tree(Path(logs.path)) == digest_tree(expected)
        assert logs.metadata["digest"] == digest_json(digest_tree(expected))
        assert logs.metadata["component"] == "LogSimulator"
        record = read_json(tmp_path / "run" / RECORDS / "LogSimulator.json")
        assert (record["state"], record["outputs"]) == ("ran", {"logs": logs.uri})

    @pytest.mark.parametrize("resumable", [False, True])
    def test_a_retried_step_finds_what_was_left_only_where_it_can_go_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumable: bool
    ) -> None:
        seen: list[set[str]] = []

        def execute(inputs, outputs, parameters) -> None:
            seen.append({path.name for path in outputs["logs"].iterdir()})
            (outputs["logs"] / "events.csv").write_text("whole")

        monkeypatch.setattr(LogSimulator, "execute", staticmethod(execute))
        monkeypatch.setattr(LogSimulator, "RESUMABLE", resumable)
        logs = artifact(tmp_path / "run" / "log-simulator" / "logs")
        (Path(logs.path) / CHECKPOINTS).mkdir(parents=True)
        (Path(logs.path) / "half.csv").write_text("half")
        run_step("LogSimulator", {"logs": logs, **values_of(config())}, pipeline.create_pipeline)
        assert seen == [{CHECKPOINTS, "half.csv"} if resumable else set()]
        assert not (Path(logs.path) / CHECKPOINTS).exists()

    def test_parameters_that_need_other_steps_are_refused(self, tmp_path: Path) -> None:
        outputs = {
            key: artifact(tmp_path / "run" / "example-gen" / key) for key in ("examples", "statistics")
        }
        given = {
            "logs": artifact(tmp_path / "logs"),
            **outputs,
            **values_of(config(data={"path": "elsewhere"})),
        }
        with pytest.raises(UserError, match=r"elsewhere.*Compile the pipeline again"):
            run_step("ExampleGen", given, pipeline.create_pipeline)
        assert read_json(tmp_path / "run" / RECORDS / "ExampleGen.json")["state"] == "failed"

    def test_a_full_disk_is_a_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(LogSimulator, "execute", staticmethod(full))
        given = {"logs": artifact(tmp_path / "run" / "log-simulator" / "logs"), **values_of(config())}
        with pytest.raises(UserError, match="no space left"):
            run_step("LogSimulator", given, pipeline.create_pipeline)


class TestOutside:
    @pytest.fixture
    def shop(self, tmp_path: Path) -> RunConfig:
        logs = tmp_path / "logs"
        logs.mkdir()
        (logs / "day.csv").write_text("user_id,item_id\n")
        return config(
            data={"dataset": "table", "path": str(logs)}, push={"directory": str(tmp_path / "models")}
        )

    def test_a_raw_file_that_changed_changes_the_digest_of_the_step_that_reads_it(
        self, shop: RunConfig, tmp_path: Path
    ) -> None:
        before = outside_of(shop, tmp_path)
        assert outside_of(shop, tmp_path) == before
        (tmp_path / "logs" / "day.csv").write_text("user_id,item_id\nu,i\n")
        after = outside_of(shop, tmp_path)
        assert {name for name in before if before[name] != after[name]} == {"example_gen"}
        found = read_json(tmp_path / "run" / "outside-digests" / "digests" / "outside.json")
        assert found["FileExampleGen"]["file day.csv"] == digest_file(tmp_path / "logs" / "day.csv")

    def test_a_pushed_model_changes_the_digest_of_the_evaluator(
        self, shop: RunConfig, tmp_path: Path
    ) -> None:
        from rmtl_tf import serving_versions

        before = outside_of(shop, tmp_path)
        model = tmp_path / "model"
        model.mkdir()
        (model / "saved_model.pb").write_text("weights")
        serving_versions.push(model, Path(str(shop.push.directory)), keep=2)
        after = outside_of(shop, tmp_path)
        assert {name for name in before if before[name] != after[name]} == {"evaluator"}

    def test_missing_raw_files_stop_the_run_at_its_first_step(self, tmp_path: Path) -> None:
        nowhere = config(data={"dataset": "table", "path": str(tmp_path / "nowhere")})
        with pytest.raises(UserError, match="nowhere"):
            outside_of(nowhere, tmp_path)
        record = read_json(tmp_path / "run" / RECORDS / "OutsideDigests.json")
        assert "nowhere" in record["error"]


class TestEntry:
    @pytest.fixture(scope="class")
    def module(self) -> Any:
        """The entry as kfp's executor loads it: by its path, as no part of a package."""
        spec = importlib.util.spec_from_file_location("entry", REPOSITORY / "commands" / "kubeflow_step.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @pytest.mark.parametrize("step", [*STEPS, "OutsideDigests", "RunReport"])
    def test_every_step_is_a_function_with_its_signature(self, module: Any, step: str) -> None:
        found = getattr(module, step)
        assert inspect.signature(found) == signature(step)
        assert set(found.__annotations__) == set(signature(step).parameters)

    def test_another_name_is_none(self, module: Any) -> None:
        assert not hasattr(module, "Labeler")

    def test_a_users_mistake_ends_the_container_with_code_2_and_a_sentence(
        self, module: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline, "set_up_logging", lambda debug: None)
        logs = artifact(tmp_path / "run" / "log-simulator" / "logs")
        values = {**values_of(config()), "data_simulate_events": 1}
        wanted = {name: values[name] for name in signature("LogSimulator").parameters if name in values}
        with pytest.raises(SystemExit) as stopped:
            module.LogSimulator(logs=logs, **wanted)
        assert stopped.value.code == 2
        assert "data.simulate.events" in capsys.readouterr().err


def test_the_steps_are_components() -> None:
    assert all(issubclass(step, Component) for step in STEPS.values())
