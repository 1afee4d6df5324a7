"""What can fail in `make bench-serving`, on a small model: parts, what is saved, and the page made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.document import rewrite, section
from benchmarks.serving import measure
from benchmarks.serving.__main__ import PAGE, add
from benchmarks.serving.__main__ import measure as measured
from benchmarks.serving.models import export_model, make_graph
from benchmarks.serving.page import report
from rmtl_tf.config import ModelConfig

SMALL = ModelConfig(backbone="mmoe", embedding_dim=4, bottom=(8,), tower=(4,), experts=2)


@pytest.fixture(scope="module")
def found() -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_LOADS", 1)
        return measured(SMALL, ["process"], 3)


def peer(milliseconds: float) -> dict:
    times = {
        f"PyTorch, {form}, from {start}": {
            str(batch): [share * milliseconds] * 2 for batch in measure.BATCHES
        }
        for form, share in (("eager", 3), ("torchscript", 1))
        for start in ("text", "ids")
    }
    where = {"machine": "Measured here.", "repeats": 3, "load": 0.5}
    return {"times": times, "error": 1e-7, "missing": "compile (no compiler)", **where}


def test_every_form_is_timed_at_every_batch(found: dict) -> None:
    part = found["process"]
    assert set(part["times"]) == {
        measure.KERAS_IDS,
        measure.KERAS_TEXT,
        measure.EAGER,
        measure.SESSION,
        measure.RANK,
    }
    for by_batch in part["times"].values():
        assert [0 < p50 <= p99 for p50, p99 in by_batch.values()] == [True] * len(measure.BATCHES)
    assert part["first"]["cold"] > part["first"]["warm"] > 0


def test_parts_are_kept_beside_those_measured_before(found: dict, tmp_path: Path) -> None:
    results = tmp_path / "runs" / "results.json"
    add(results, "mmoe", {"torch": peer(9.0), "process": {"times": {}}})
    known = add(results, "mmoe", found)
    assert known["mmoe"]["process"] == found["process"]
    assert known["mmoe"]["torch"]["error"] == 1e-7
    assert add(results, "ple", {"grpc": {"times": {}, "rates": {}}}).keys() == {"mmoe", "ple"}


def test_page_compares_with_the_fastest_form_that_does_the_same_work(found: dict) -> None:
    session = {str(batch): [2.0, 4.0] for batch in measure.BATCHES}
    keras = {str(batch): [4.0, 8.0] for batch in measure.BATCHES}
    times = {measure.SESSION: session, measure.KERAS_TEXT: keras}
    process = {**found["process"], "times": times, "first": {"cold": 50.0, "warm": 3.0}}
    text = report({"mmoe": {"process": process, "torch": peer(5.0)}})
    assert "| SavedModel in a session | 2.00 / 4.00 |" in text
    assert "compiled Keras from text, median, batch 1, 100, 1000: 0.50, 0.50, 0.50" in text
    assert (
        "fastest form from text / SavedModel in a session, median, batch 1, 100, 1000: 2.50, 2.50, 2.50"
        in text
    )
    assert "3.00 ms after the warm-up (goal: 2 x p99 = 8.00)" in text
    assert "Not run in PyTorch: compile (no compiler)." in text
    assert section(rewrite(PAGE.read_text(encoding="utf-8"), "serving", text), "serving") == text


def test_page_is_written_of_any_part_alone(found: dict) -> None:
    assert "PyTorch" not in report({"mmoe": found})
    alone = report({"mmoe": {"torch": peer(5.0)}})
    assert "eager, from text | 15.00 / 15.00" in alone
    assert "session /" not in alone


def test_without_pytorch_the_part_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "TORCH_PYTHON", tmp_path / "python")
    answer = measure.torch(tmp_path, None, 1)
    assert (answer["times"], answer["error"]) == ({}, None)
    assert "make bench-serving" in answer["missing"]


def test_biases_of_a_measured_model_are_not_zero(tmp_path: Path) -> None:
    backbone = export_model(tmp_path, SMALL, make_graph(rows=5), 0)
    biases = [variable.numpy() for variable in backbone.weights if "bias" in variable.path]
    assert biases
    assert all(np.all(bias != 0) for bias in biases)
