"""What made an artifact, what differs between two runs, and what may be removed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

import pipeline
from components.base import EXAMPLES, INFRA_BLESSING, MODEL, MODEL_BLESSING, RAW_LOGS, Component
from components.garbage import collect
from components.lineage import ancestry, difference_text, find, flat, lineage_text, raw_files
from components.pusher import Pusher, PusherParameters
from components.runner import run
from rmtl_tf import serving_versions
from rmtl_tf.config import Strict
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file, read_json, write_json


class ReadParameters(Strict):
    path: str
    sessions: dict[str, int] = Field(default_factory=lambda: {"gap": 30})


class Read(Component):
    OUTPUTS: ClassVar[Mapping[str, str]] = {"logs": RAW_LOGS}
    PARAMETERS: ClassVar[type[Strict]] = ReadParameters

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: Any) -> dict[str, str]:
        return {f"file {Path(parameters.path).name}": digest_file(Path(parameters.path))}

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        shutil.copy(parameters.path, outputs["logs"] / "copy")


class TrainParameters(Strict):
    rate: float = 0.1


class Train(Component):
    """Trainer, both validators at once: what a Pusher needs."""

    INPUTS: ClassVar[Mapping[str, str]] = {"logs": RAW_LOGS}
    OUTPUTS: ClassVar[Mapping[str, str]] = {
        "model": MODEL,
        "blessing": MODEL_BLESSING,
        "infra_blessing": INFRA_BLESSING,
        "spare": EXAMPLES,
    }
    PARAMETERS: ClassVar[type[Strict]] = TrainParameters

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        model = outputs["model"] / "Format-Serving"
        model.mkdir()
        text = (inputs["logs"] / "copy").read_text()
        (model / "saved_model.pb").write_text(f"{text} {parameters.rate}")
        (outputs["blessing"] / "BLESSED").touch()
        (outputs["infra_blessing"] / "INFRA_BLESSED").touch()


class Evaluator(Component):
    """Stands for the real one: an evaluation that depends on the model."""

    INPUTS: ClassVar[Mapping[str, str]] = {"model": MODEL}
    OUTPUTS: ClassVar[Mapping[str, str]] = {"evaluation": "ModelEvaluation"}

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        rate = float((inputs["model"] / "Format-Serving" / "saved_model.pb").read_text().split()[-1])
        metrics = {"control": {"click": {"auc": {"value": 0.5 + rate}, "logloss": {"value": 0.7 - rate}}}}
        write_json(
            outputs["evaluation"] / "evaluation.json",
            {"tasks": ["click"], "export": "control", "records": 10, "metrics": metrics},
        )


def go(tmp_path: Path, text: str = "one", rate: float = 0.1, gap: int = 30, root: str = "root") -> Path:
    """Runs Read, Train, Evaluator, Pusher; returns the pipeline root."""
    source = tmp_path / "events.csv"
    source.write_text(text)
    read = Read(ReadParameters(path=str(source), sessions={"gap": gap}))
    train = Train(TrainParameters(rate=rate), {"logs": read.outputs["logs"]})
    keys = ("model", "blessing", "infra_blessing")
    judge = Evaluator(Strict(), {"model": train.outputs["model"]})
    push = Pusher(
        PusherParameters(directory=str(tmp_path / "serving")), {key: train.outputs[key] for key in keys}
    )
    run([read, train, judge, push], tmp_path / root)
    return tmp_path / root


def folders(root: Path, component: str) -> list[Path]:
    return sorted(path for path in (root / component).iterdir() if not path.name.startswith("."))


def test_the_lineage_of_a_pushed_version_goes_back_to_the_raw_file(tmp_path):
    root = go(tmp_path)
    steps = ancestry(find(tmp_path / "serving" / "1"))
    assert [step.name for step in steps] == ["Read", "Train", "Pusher"]
    assert raw_files(steps[0]) == {"events.csv": digest_file(tmp_path / "events.csv")}
    text = lineage_text(tmp_path / "serving" / "1", check=True)
    assert f"{digest_file(tmp_path / 'events.csv')}  Read: raw file events.csv" in text
    record = read_json(folders(root, "Train")[0] / "execution.json")
    assert f"commit {record['commit']}" in text
    assert f"tensorflow {record['versions']['tensorflow']}" in text
    assert "All 6 artifacts are what was recorded." in text


def test_an_artifact_that_changed_since_is_named(tmp_path):
    root = go(tmp_path)
    (folders(root, "Read")[0] / "logs" / "copy").write_text("forged")
    text = lineage_text(tmp_path / "serving" / "1", check=True)
    assert "CHANGED since they were made:\n  Read/logs in" in text


def test_each_version_is_traced_to_its_own_run_and_one_taken_back_too(tmp_path):
    go(tmp_path, "one")
    go(tmp_path, "two")
    serving_versions.rollback(tmp_path / "serving")
    digests = [
        raw_files(ancestry(find(version))[0])["events.csv"]
        for version in serving_versions.kept(tmp_path / "serving")
    ]
    (tmp_path / "events.csv").write_text("one")
    assert digests[0] == digest_file(tmp_path / "events.csv") != digests[1]


def test_a_difference_names_the_file_the_setting_and_what_it_did_to_the_metrics(tmp_path):
    before, after = go(tmp_path, root="a"), go(tmp_path, "other", rate=0.3, gap=60, root="b")
    text = difference_text(folders(before, "Evaluator")[0], folders(after, "Evaluator")[0])
    old, new = (
        read_json(folders(root, "Read")[0] / "execution.json")["external"]["file events.csv"]
        for root in (before, after)
    )
    lines = [line.strip() for line in text.splitlines()]
    assert f"outside file events.csv: {old[:12]} -> {new[:12]}" in lines
    assert "setting sessions.gap: 30 -> 60" in lines
    assert "setting rate: 0.1 -> 0.3" in lines
    assert not [line for line in lines if line.startswith("source")]
    (auc,) = [line.split() for line in lines if line.startswith("click  AUC")]
    assert auc[2:] == ["0.6000", "0.8000", "+0.2000"]


def test_equal_runs_have_no_difference(tmp_path):
    first, second = go(tmp_path, root="a"), go(tmp_path, root="b")
    text = difference_text(folders(first, "Train")[0], folders(second, "Train")[0])
    assert "Nothing is different" in text


def test_settings_in_lists_are_named_by_their_names():
    assert flat({"a": {"b": 1}, "arms": [{"name": "x", "power": 1}], "widths": [4, 2]}) == {
        "a.b": 1,
        "arms.x.name": "x",
        "arms.x.power": 1,
        "widths": [4, 2],
    }


@pytest.mark.parametrize("place", ["nothing", "serving"])
def test_a_place_without_an_origin_is_refused_with_what_would_do(tmp_path, place):
    go(tmp_path)
    with pytest.raises(UserError, match="expected a pushed version"):
        find(tmp_path / place)


def test_a_version_whose_model_is_gone_cannot_be_traced(tmp_path):
    root = go(tmp_path)
    shutil.rmtree(root / "Train")
    with pytest.raises(UserError, match="can no longer be traced"):
        find(tmp_path / "serving" / "1")


class TestGarbage:
    def test_what_the_last_run_and_pushed_models_are_made_of_stays(self, tmp_path):
        root = go(tmp_path, "one")
        go(tmp_path, "two")
        everything = [p for c in ("Read", "Train", "Evaluator", "Pusher") for p in folders(root, c)]
        found = collect(root, tmp_path / "serving")
        # Of the first run the pushed model's steps are needed; nobody needs its evaluation.
        assert len(everything) == 8
        assert [path.parent.name for path in found.removed] == ["Evaluator"]
        assert not next(iter(found.removed)).exists()
        assert set(found.kept) == set(everything) - set(found.removed)
        assert all(path.is_dir() for path in found.kept)
        for version in ("1", "2"):
            assert "All 6 artifacts" in lineage_text(tmp_path / "serving" / version, check=True)

    def test_a_version_taken_back_still_needs_its_steps_and_a_removed_one_does_not(self, tmp_path):
        root = go(tmp_path, "one")
        go(tmp_path, "two")
        go(tmp_path, "three")
        serving_versions.rollback(tmp_path / "serving")
        shutil.rmtree(tmp_path / "serving" / "1")
        collect(root, tmp_path / "serving")
        assert [len(folders(root, name)) for name in ("Read", "Train", "Pusher")] == [2, 2, 2]

    def test_a_dry_run_removes_nothing_and_says_how_much_would_go(self, tmp_path):
        root = go(tmp_path, "one")
        go(tmp_path, "two")
        found = collect(root, tmp_path / "serving", dry_run=True)
        ((folder, size),) = found.removed.items()
        assert folder.is_dir()
        assert size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > 0

    def test_young_artifacts_can_be_kept(self, tmp_path):
        root = go(tmp_path, "one")
        go(tmp_path, "two")
        assert collect(root, tmp_path / "serving", days=1).removed == {}
        old = time.time() - 2 * 86_400
        for record in root.glob("*/*/execution.json"):
            os.utime(record, (old, old))
        assert len(collect(root, tmp_path / "serving", days=1).removed) == 1

    def test_what_is_left_is_cached_in_the_next_run(self, tmp_path):
        root = go(tmp_path, "one")
        go(tmp_path, "two")
        collect(root, tmp_path / "serving")
        go(tmp_path, "two")
        assert {step["state"] for step in read_json(root / "status.json")["steps"]} == {"cached"}

    def test_a_folder_without_a_run_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="no run found"):
            collect(tmp_path, tmp_path / "serving")


def test_the_commands_answer_and_a_number_needs_a_configuration(tmp_path, capsys):
    root = go(tmp_path)
    assert pipeline.main(["lineage", str(tmp_path / "serving" / "1")]) == 0
    assert "made by 3 steps" in capsys.readouterr().out
    assert pipeline.main(["diff", str(folders(root, "Read")[0]), str(folders(root, "Train")[0])]) == 0
    assert "only in the second" in capsys.readouterr().out
    assert pipeline.main(["lineage", "1"]) == 2
    assert "Add --config FILE" in capsys.readouterr().err
