"""The end of a run and its status, as text."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from components import summary
from components.base import MODEL, PUSHED_MODEL, Component
from components.runner import run
from rmtl_tf.config import Strict
from rmtl_tf.errors import UserError
from rmtl_tf.files import write_json


def judged(blessed: bool) -> dict[str, Any]:
    check = {
        "name": "auc click",
        "passed": blessed,
        "value": 0.4,
        "threshold": 0.5,
        "explanation": "0.4 < 0.5",
    }
    return {"blessed": blessed, "checks": [check]}


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The artifacts the summary reads, of a run that pushed version 2; the working directory is theirs."""
    monkeypatch.chdir(tmp_path)
    keys = ("anomalies", "evaluation", "blessing", "infra_blessing", "pushed", "model_run", "model", "report")
    folders = {key: tmp_path / "root" / key for key in keys}
    metric = {"auc": {"value": 0.75, "low": 0.74, "high": 0.76}}
    evaluation = {
        "tasks": ["click"],
        "arms": ["control", "paper"],
        "export": "paper",
        "records": 10,
        "sessions": 5,
        "confidence": 0.9,
        "metrics": {"control": {"click": metric}, "paper": {"click": metric}},
        "difference": {"paper": {"click": {"auc": {"value": 0.001, "low": -0.001, "high": 0.003}}}},
    }
    write_json(folders["evaluation"] / "evaluation.json", evaluation)
    write_json(folders["anomalies"] / "anomalies.json", {"warnings": 0, "anomalies": []})
    write_json(folders["blessing"] / "blessing.json", judged(True))
    write_json(folders["infra_blessing"] / "infra.json", judged(True))
    pushed = {
        "pushed": True,
        "version": "2",
        "path": str(tmp_path / "serving" / "2"),
        "reason": "pushed as version 2",
    }
    write_json(folders["pushed"] / "pushed.json", pushed)
    arms = [{"name": name, "incumbent_kept": False} for name in ("pretrained", "control", "paper")]
    write_json(folders["model_run"] / "run.json", {"arms": arms})
    return folders


def test_summary_names_the_first_warning_of_data_validation(artifacts: dict[str, Path]) -> None:
    assert "Data validation" not in summary.run_summary(artifacts, "shop")
    found = {"warnings": 2, "anomalies": [{"sentence": "test: feature 'device' moved [skew]"}]}
    write_json(artifacts["anomalies"] / "anomalies.json", found)
    text = summary.run_summary(artifacts, "shop")
    assert "Data validation: 2 warnings; first: test: feature 'device' moved [skew]" in text


def test_summary_says_in_words_which_arms_kept_the_pretrained_weights(artifacts: dict[str, Path]) -> None:
    assert "pretrained weights stand" not in summary.run_summary(artifacts, "shop")
    kept = {"pretrained": False, "control": True, "paper": True}
    arms = [{"name": name, "incumbent_kept": value} for name, value in kept.items()]
    write_json(artifacts["model_run"] / "run.json", {"arms": arms})
    text = summary.run_summary(artifacts, "shop")
    assert "control, paper: no epoch of fine-tuning beat the pretrained model on validation data" in text


def test_summary_says_which_powers_validation_chose(artifacts: dict[str, Path]) -> None:
    assert "power by validation" not in summary.run_summary(artifacts, "shop")
    choice = {"chosen": {"click": -1.0, "buy": 0.5}, "candidates": {"-1": {}, "0.5": {}}}
    arms = [{"name": "mine", "incumbent_kept": False, "power": choice}]
    write_json(artifacts["model_run"] / "run.json", {"arms": arms})
    text = summary.run_summary(artifacts, "shop")
    assert "mine: power by validation AUC 0.5 for buy, -1 for click, of -1, 0.5." in text


def test_summary_shows_metrics_blessings_places_and_commands(
    artifacts: dict[str, Path], tmp_path: Path
) -> None:
    text = summary.run_summary(artifacts, "shop")
    assert "+0.0010 [-0.0010, +0.0030]" in text
    assert "90% interval" in text
    assert "Evaluator: blessed (1 checks passed)" in text
    assert "Pusher: pushed as version 2" in text
    assert "root/report/report.html" in text
    assert "--logdir root/model_run/tensorboard" in text
    assert "show --dir serving/2 --all" in text
    assert "-v $PWD/serving:/models/shop -e MODEL_NAME=shop tensorflow/serving" in text


def test_summary_of_a_model_that_was_not_pushed_says_why_and_where_it_is(artifacts: dict[str, Path]) -> None:
    write_json(artifacts["blessing"] / "blessing.json", judged(False))
    refused = {"pushed": False, "version": None, "path": None, "reason": "not pushed: no blessing"}
    write_json(artifacts["pushed"] / "pushed.json", refused)
    text = summary.run_summary(artifacts, "shop")
    assert "Evaluator: NOT blessed\n  auc click: 0.4 < 0.5" in text
    assert "Pusher: not pushed: no blessing" in text
    assert "SavedModel (not pushed) root/model/Format-Serving" in text
    assert "docker" not in text


def test_commands_use_the_tools_of_this_environment(
    artifacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    assert "$ tensorboard --logdir" in summary.run_summary(artifacts, "shop")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "tensorboard").touch()
    assert "$ venv/bin/tensorboard --logdir" in summary.run_summary(artifacts, "shop")


class PusherParameters(Strict):
    directory: str
    fail: bool = False


class First(Component):
    OUTPUTS: ClassVar[Mapping[str, str]] = {"model": MODEL, "model_run": MODEL}

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        (outputs["model"] / "weights").touch()


class Pusher(Component):
    INPUTS: ClassVar[Mapping[str, str]] = {"model": MODEL}
    OUTPUTS: ClassVar[Mapping[str, str]] = {"pushed": PUSHED_MODEL}
    PARAMETERS: ClassVar[type[Strict]] = PusherParameters

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        if parameters.fail:
            raise UserError("disk is full. Free some.")
        (Path(parameters.directory) / "7").mkdir(parents=True)


def pipeline(directory: Path, fail: bool = False) -> list[Component]:
    first = First(Strict())
    parameters = PusherParameters(directory=str(directory), fail=fail)
    return [first, Pusher(parameters, {"model": first.outputs["model"]})]


class TestStatus:
    def test_lists_steps_cache_hits_artifacts_and_versions(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        run(pipeline(tmp_path / "serving"), tmp_path / "root")
        results = run(pipeline(tmp_path / "serving"), tmp_path / "root")
        text = summary.status_text(tmp_path / "root", None)
        assert text.splitlines()[0].startswith("Run root in root: finished, started ")
        assert "2 of 2 steps cached" in text
        key = results[0].key[:16]
        (line,) = [line for line in text.splitlines() if line.startswith("First")]
        assert line.split()[1] == "cached"
        assert line.endswith(f"{key}  root/First/{key}/model")
        assert f"root/First/{key}/model_run" in text
        assert "Pushed versions in serving: 7 (TF Serving serves 7)" in text

    def test_failed_step_is_shown_with_its_error_and_no_artifacts(self, tmp_path: Path) -> None:
        with pytest.raises(UserError):
            run(pipeline(tmp_path / "serving", fail=True), tmp_path / "root")
        text = summary.status_text(tmp_path / "root", tmp_path / "serving")
        assert "Pusher failed: disk is full. Free some." in text
        assert text.splitlines()[-1].endswith("serving: none")

    def test_steps_after_a_failure_are_not_run(self, tmp_path: Path) -> None:
        components = pipeline(tmp_path / "serving", fail=True)
        with pytest.raises(UserError):
            run([*components, Last(Strict(), components[1].outputs)], tmp_path / "root")
        (line,) = [
            line for line in summary.status_text(tmp_path / "root", None).splitlines() if line[:4] == "Last"
        ]
        assert line.split() == ["Last", "not", "run"]


class Last(Component):
    INPUTS: ClassVar[Mapping[str, str]] = {"pushed": PUSHED_MODEL}


def test_paths_are_shown_relative_only_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert summary.shown(tmp_path / "here" / "a" / "b") == "a/b"
    assert summary.shown(Path("a")) == "a"
    assert summary.shown(tmp_path / "there") == str(tmp_path / "there")
