"""New logs come in: the old ones are not read again, and the new model starts from the pushed one."""

from __future__ import annotations

import re
import subprocess
import sys

import polars as pl
import pytest

from rmtl_tf.config import SimulatorConfig
from rmtl_tf.data.simulator import simulate
from rmtl_tf.files import digest_file, read_json
from tests.e2e.conftest import ROOT, only, run_pipeline

WEEK = 7 * 86_400


@pytest.fixture(scope="module")
def weeks(tmp_path_factory):
    """Simulated events with the week they are of, and the weeks. A session may go over the end of one."""
    folder = tmp_path_factory.mktemp("weeks")
    simulate(folder, SimulatorConfig(events=8000, seed=1))
    events = pl.read_csv(folder / "events.csv", infer_schema=False)
    number = pl.col("timestamp").cast(pl.Int64) // WEEK
    numbers = events.select(number.unique().sort()).to_series().to_list()
    return events.with_columns(number.alias("#week")), numbers


def put(weeks, root, count):
    events, numbers = weeks
    for week in numbers[:count]:
        target = root / "logs" / f"week-{week}"
        target.mkdir(parents=True, exist_ok=True)
        events.filter(pl.col("#week") == week).drop("#week").write_csv(target / "events.csv")


def test_a_new_span_is_read_alone_and_the_next_model_starts_from_the_pushed_one(weeks, tmp_path):
    settings = (
        f"data.path={tmp_path}/logs/week-{{SPAN}}",
        "training.warm_start=blessed",
        "training.arms=[control]",
        "evaluation.max_auc_drop=1",
    )
    put(weeks, tmp_path, 3)
    first = run_pipeline(tmp_path / "root", *settings)
    assert first.returncode == 0, first.stderr
    assert "warm start from" not in first.stderr
    put(weeks, tmp_path, 4)
    second = run_pipeline(tmp_path / "root", *settings)
    assert second.returncode == 0, second.stderr
    steps = {step["name"]: step["state"] for step in read_json(tmp_path / "root" / "status.json")["steps"]}
    spans = [steps[f"ExampleGen-{week}"] for week in weeks[1][:4]]
    assert spans == ["cached", "cached", "cached", "ran"]
    earlier = only(tmp_path / "root" / "serving", "simulator/1")
    assert str(read_json(earlier / "manifest.json")["source"]).rsplit("/model/", 1)[0] in second.stderr
    assert re.search(r"values it knows: .*item_id [1-9]", second.stderr)
    third = run_pipeline(tmp_path / "root", *settings)
    states = {step["state"] for step in read_json(tmp_path / "root" / "status.json")["steps"]}
    assert third.returncode == 0
    assert states == {"cached"}
    lineage = subprocess.run(
        [sys.executable, "pipeline.py", "lineage", str(earlier.with_name("2")), "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout
    assert re.search(r"All \d+ artifacts are what was recorded", lineage)
    files = sorted((tmp_path / "logs").rglob("*.csv"))
    # The model of the second run, from four spans; its warm start is in the lineage as well.
    for file in files:
        assert (
            f"{digest_file(file)}  ExampleGen-{file.parent.name.removeprefix('week-')}: raw file" in lineage
        )
    assert len(files) == 4
    assert "Trainer: warm start" in lineage
