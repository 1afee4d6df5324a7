"""The simulator's run from raw CSV to a pushed model, as a user sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from components.run_status import STATUS_FILE
from rmtl_tf import serving_versions
from rmtl_tf.files import read_json
from tests.e2e.conftest import ROOT, command, only, run_pipeline


def test_the_table_compares_every_arm_with_the_control_and_names_the_results(finished):
    root, process = finished
    for word in (
        "pretrained",
        "control",
        "paper",
        "recommended",
        "AUC",
        "Logloss",
        "s-Logloss",
        "session AUC",
    ):
        assert word in process.stdout
    for word in ("blessed", "report.html", "tensorboard --logdir", "saved_model_cli"):
        assert word in process.stdout
    assert "Traceback" not in process.stderr
    assert (only(root, "Reporter/*/report/report.html")).stat().st_size > 50_000


def test_the_console_has_no_native_chatter(finished):
    _, process = finished
    for noise in ("cuda", "oneDNN", "absl::InitializeLog", "UserWarning"):
        assert noise not in process.stderr


def test_a_rerun_with_nothing_changed_does_nothing(finished):
    root, first = finished
    version = only(root / "serving" / "simulator", "[0-9]*")
    began = time.monotonic()
    process = run_pipeline(root)
    seconds = time.monotonic() - began
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("cached") == 9
    assert " ran after" not in process.stderr
    assert process.stdout == first.stdout
    assert only(root / "serving" / "simulator", "[0-9]*") == version
    assert seconds < 20, "a generous bound: about 1 s on a quiet machine"


def test_a_cached_rerun_imports_neither_tensorflow_nor_beam(finished):
    root, _ = finished
    arguments = command(root)[2:]
    script = (
        "import sys, pipeline; code = pipeline.main(sys.argv[1:]);"
        "heavy = {'tensorflow', 'keras', 'apache_beam', 'polars', 'fsspec', 'upath'} & set(sys.modules);"
        "print('HEAVY', sorted(heavy)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout


def test_status_lists_steps_durations_artifacts_and_versions(finished):
    root, _ = finished
    process = run_pipeline(root, action="status")
    assert process.returncode == 0
    for step in (
        "LogSimulator",
        "ExampleGen",
        "ExampleValidator",
        "Transform",
        "Trainer",
        "Evaluator",
        "InfraValidator",
        "Pusher",
    ):
        assert step in process.stdout
    assert "TF Serving serves 1" in process.stdout
    assert read_json(root / STATUS_FILE)["steps"]


def test_changing_the_evaluation_leaves_training_cached(finished, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(finished[0], root)
    process = run_pipeline(root, "evaluation.bootstrap=30")
    assert process.returncode == 0, process.stderr
    lines = process.stderr.splitlines()
    assert any("Trainer" in line and "cached" in line for line in lines)
    assert any("Evaluator" in line and "ran after" in line for line in lines)


def test_infra_validation_compared_both_signatures_in_a_bare_process(finished):
    root, _ = finished
    infra = read_json(only(root, "InfraValidator/*/infra_blessing/infra.json"))
    assert infra["blessed"]
    checks = {check["name"]: check for check in infra["checks"]}
    parity = [check for name, check in checks.items() if "parity" in name or "prediction" in name]
    assert parity, list(checks)
    assert all(check["value"] <= 1e-6 for check in parity if isinstance(check["value"], float))


def test_pushed_version_is_whole_and_warm(finished):
    root, _ = finished
    version = root / "serving" / "simulator" / "1"
    assert serving_versions.verify(version) == []
    assert (version / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0


def test_no_arm_beats_the_perfect_model_by_more_than_noise(finished):
    """AUC of the known probabilities bounds every model's, up to the bootstrap's 99.7 % interval."""
    import polars as pl

    from rmtl_tf.data.simulator import TRUTH_FILE
    from rmtl_tf.metrics.bootstrap import bootstrap

    root, _ = finished
    logs = only(root, "LogSimulator/*/logs")
    truth = pl.read_parquet(logs / TRUTH_FILE)
    events = pl.read_csv(logs / "events.csv")
    order = test_rows(root, events)
    with np.load(only(root, "Evaluator/*/evaluation/predictions.npz")) as stored:
        labels, session = stored["labels"], stored["session"]
        arms = {name.split("/")[1]: stored[name] for name in stored.files if name.startswith("probabilities")}
    np.testing.assert_array_equal(labels, events[order, ["click", "conversion"]].to_numpy())
    arms["perfect"] = truth[order, ["p_click", "p_conversion"]].to_numpy()
    numbers = bootstrap(labels, arms, session, ["click", "conversion"], control="perfect", confidence=0.997)
    for arm, tasks in numbers["difference"].items():
        for task in ("click", "conversion"):
            assert tasks[task]["auc"]["low"] < 0, (arm, task, tasks[task]["auc"])
    assert numbers["metrics"]["perfect"]["click"]["auc"]["value"] > 0.7


def test_rows(root, events) -> np.ndarray:
    """Row of the CSV of every test record, in the order of the Examples."""
    from rmtl_tf.data.session_reader import SessionReader
    from rmtl_tf.schema import read_schema

    schema = read_schema(ROOT / "data_schemas" / "simulator.pbtxt")
    place = {
        key: row
        for row, key in enumerate(zip(events["user_id"], events["timestamp"], events["item_id"], strict=True))
    }
    rows = []
    for shard in sorted(only(root, "ExampleGen/*/examples").glob("Split-test/data-*")):
        for records in SessionReader(schema, []).read(shard):
            columns = records.without_lookahead()
            users, items = (columns[name].to_pylist() for name in ("user_id", "item_id"))
            keys = zip(users, columns["timestamp"], items, strict=True)
            rows += [place[user.decode(), int(time), item.decode()] for user, time, item in keys]
    return np.array(rows)


test_rows.__test__ = False


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("training.batchsize=3",), 'did you mean "batch_size"?'),
        (("data.path=nowhere",), "nowhere"),
        (("data.dataset=simulatr",), 'did you mean "simulator"?'),
        (("model.backbone=mmeo",), 'did you mean "mmoe"?'),
        (("training.batch_size=16",), "max_steps"),
    ],
)
def test_a_users_mistake_ends_with_a_sentence_and_code_2(finished, tmp_path, overrides, message):
    process = run_pipeline(tmp_path, *overrides)
    assert process.returncode == 2, process.stderr
    assert message in process.stderr
    assert "Traceback" not in process.stderr
