"""A second model meets the first: compared with it, pushed beside it, taken back again."""

from __future__ import annotations

import pytest

from rmtl_tf import serving_versions
from rmtl_tf.files import read_json
from tests.e2e.conftest import run_pipeline

LENIENT = ("seed=1", "evaluation.max_auc_drop=1")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A root with one pushed model and a second run on top of it, which pushes another.

    The first reads the session's history, which the second does not: its requests have lists.
    """
    root = tmp_path_factory.mktemp("second")
    first = run_pipeline(root, "model.history.encoder=attention", "model.history.length=3")
    assert first.returncode == 0, first.stderr
    second = run_pipeline(root, *LENIENT)
    assert second.returncode == 0, second.stderr
    return root, second


def newest(root, pattern):
    return max(root.glob(pattern), key=lambda path: path.stat().st_mtime)


def test_the_live_model_is_the_baseline_of_the_next(roots):
    root, process = roots
    evaluation = read_json(newest(root, "Evaluator/*/evaluation/evaluation.json"))
    baseline = evaluation["baseline"]
    assert baseline["version"] == "1"
    assert baseline["mean_auc_difference"]["low"] <= baseline["mean_auc_difference"]["value"]
    # The live model's numbers are those its own run reported on the same test records.
    first = min(root.glob("Evaluator/*/evaluation/evaluation.json"), key=lambda path: path.stat().st_mtime)
    own = read_json(first)
    for task, metrics in baseline["metrics"].items():
        reported = own["metrics"][own["export"]][task]["auc"]["value"]
        assert metrics["auc"] == pytest.approx(reported, abs=1e-6)
    assert "ExampleGen     cached" in process.stderr


def test_a_drop_against_the_live_model_is_not_blessed_and_not_pushed(roots):
    root, _ = roots
    process = run_pipeline(
        root, "seed=1", "evaluation.max_auc_drop=0", "training.pretrain.learning_rate=1e-9"
    )
    assert process.returncode == 0, process.stderr
    blessing = read_json(newest(root, "Evaluator/*/blessing/blessing.json"))
    failed = [check["name"] for check in blessing["checks"] if not check["passed"]]
    assert failed == ["no drop against the live model"]
    assert "NOT blessed" in process.stdout
    assert serving_versions.versions(root / "serving" / "simulator") == [1, 2]


def test_rollback_serves_the_version_before(roots):
    root, _ = roots
    serving = root / "serving" / "simulator"
    process = run_pipeline(root, action="rollback")
    assert process.returncode == 0, process.stderr
    assert "Version 2 is taken back; TF Serving serves version 1" in process.stdout
    assert serving_versions.versions(serving) == [1]
    again = run_pipeline(root, action="rollback")
    assert again.returncode == 2
    assert serving_versions.versions(serving) == [1]
