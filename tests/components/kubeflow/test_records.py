"""What became of the steps of a run, and the page about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.kubeflow.records import RECORDS, StepRecord, read_records, run_folder
from components.kubeflow.run_report import write_run_report
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json

STEPS = ["LogSimulator", "ExampleGen", "Trainer", "Reporter"]


def record(folder: Path, step: str, **outputs: str) -> StepRecord:
    return StepRecord(str(folder), step, {"examples": "s3://b/examples"}, outputs)


@pytest.mark.parametrize(
    "path",
    [
        "minio://bucket/v2/artifacts/shop/run-1/example-gen/0f3a/examples",  # Kubeflow
        "gs://bucket/12345/run-1/example-gen_777/examples",  # Vertex AI
        "/tmp/root/run-1/example-gen/examples",  # kfp.local
    ],
)
def test_the_folder_of_a_run_is_above_that_of_the_task(path: str) -> None:
    assert run_folder(path, "example-gen") == path[: path.index("run-1") + len("run-1")]


class TestRecord:
    def test_a_step_is_running_and_then_ran(self, tmp_path: Path) -> None:
        with record(tmp_path, "Trainer", model="s3://b/model").kept():
            during = read_json(tmp_path / RECORDS / "Trainer.json")
        after = read_json(tmp_path / RECORDS / "Trainer.json")
        assert (during["state"], after["state"]) == ("running", "ran")
        assert after["started"] <= after["finished"]
        assert after["outputs"] == {"model": "s3://b/model"}

    def test_a_users_mistake_is_kept_with_its_files(self, tmp_path: Path) -> None:
        quarantine = tmp_path / "work" / "quarantine.csv"
        quarantine.parent.mkdir()
        quarantine.write_text("line 3")
        with pytest.raises(UserError), record(tmp_path, "ExampleGen").kept():
            raise UserError("too many bad rows", keep=[quarantine])
        found = read_json(tmp_path / RECORDS / "ExampleGen.json")
        assert (found["state"], found["error"]) == ("failed", "too many bad rows")
        assert [Path(file).read_text() for file in found["kept"]] == ["line 3"]

    def test_another_error_is_kept_with_its_kind(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), record(tmp_path, "Trainer").kept():
            raise ZeroDivisionError("1 / 0")
        assert read_json(tmp_path / RECORDS / "Trainer.json")["error"] == "ZeroDivisionError: 1 / 0"

    def test_a_step_does_not_fail_because_its_record_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / RECORDS).write_text("a file where the folder should be")
        done = []
        with record(tmp_path, "Trainer").kept():
            done.append(True)
        assert done

    def test_steps_without_a_record_were_cached_before_and_not_run_after_the_others(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="x"), record(tmp_path, "Trainer").kept():
            raise ValueError("x")
        states = [found["state"] for found in read_records(str(tmp_path), STEPS)]
        assert states == ["cached", "cached", "failed", "not run"]

    def test_a_step_that_never_ended_was_interrupted(self, tmp_path: Path) -> None:
        StepRecord(str(tmp_path), "Trainer", {}, {})._write(state="running")
        assert read_records(str(tmp_path), ["Trainer"])[0]["state"] == "interrupted"


class TestPage:
    def test_of_a_finished_run_it_is_the_report(self, tmp_path: Path) -> None:
        report = tmp_path / "reporter" / "report"
        report.mkdir(parents=True)
        (report / "report.html").write_text("<h1>all good</h1>")
        with record(tmp_path, "Reporter", report=str(report)).kept():
            pass
        write_run_report(str(tmp_path), "shop", STEPS, tmp_path / "page")
        assert (tmp_path / "page").read_text() == "<h1>all good</h1>"

    def test_of_a_failed_run_it_says_which_step_why_and_what_exists(self, tmp_path: Path) -> None:
        with record(tmp_path, "ExampleGen", statistics="s3://b/statistics").kept():
            pass
        with pytest.raises(UserError), record(tmp_path, "Trainer", model="s3://b/half").kept():
            raise UserError("loss of batch 7 is NaN <task click>")
        write_run_report(str(tmp_path), "shop", STEPS, tmp_path / "page")
        page = (tmp_path / "page").read_text()
        assert "Trainer\nfailed" in page
        assert "loss of batch 7 is NaN &lt;task click&gt;" in page
        assert "s3://b/statistics" in page
        assert "s3://b/examples" in page  # of a cached step, known from who read it
        assert "s3://b/half" not in page
        assert "<td>Reporter</td><td>not run</td>" in page

    def test_where_no_step_failed_one_did_not_start(self, tmp_path: Path) -> None:
        with record(tmp_path, "ExampleGen").kept():
            pass
        write_run_report(str(tmp_path), "shop", STEPS, tmp_path / "folder" / "page")
        assert "A step did not start" in (tmp_path / "folder" / "page").read_text()

    def test_without_records_it_claims_nothing_about_steps(self, tmp_path: Path) -> None:
        write_run_report(str(tmp_path), "shop", STEPS, tmp_path / "page")
        page = (tmp_path / "page").read_text()
        assert f"No step left a record in {tmp_path}" in page
        assert "did not start" not in page
        assert "<p>None.</p>" in page

    def test_records_and_the_report_lie_on_the_object_store_of_the_artifacts(self, tmp_path: Path) -> None:
        import fsspec

        run = "memory://bucket/run-1"
        with fsspec.open(f"{run}/reporter/report/report.html", "w") as stream:
            stream.write("<h1>from the store</h1>")
        quarantine = tmp_path / "quarantine.csv"
        quarantine.write_text("line 3")
        with pytest.raises(UserError), StepRecord(run, "ExampleGen", {}, {}).kept():
            raise UserError("too many bad rows", keep=[quarantine])
        write_run_report(run, "shop", STEPS, tmp_path / "page")
        page = (tmp_path / "page").read_text()
        assert "too many bad rows" in page
        assert f"{run}/failed/ExampleGen/quarantine.csv" in page
        with StepRecord(run, "Reporter", {}, {"report": f"{run}/reporter/report"}).kept():
            pass
        write_run_report(run, "shop", STEPS, tmp_path / "page")
        assert (tmp_path / "page").read_text() == "<h1>from the store</h1>"
