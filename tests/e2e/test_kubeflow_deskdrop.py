"""Deskdrop's compiled pipeline by kfp's local runner: what the local runner makes of the same logs."""

from __future__ import annotations

import pytest

from rmtl_tf import serving_versions
from rmtl_tf.files import read_json
from tests.e2e.conftest import ROOT
from tests.e2e.kubeflow_local import Run, check_same_results, compiled, config_of, run_locally

LOGS = ROOT.parent / "shared" / "data" / "deskdrop"
SETTINGS = (
    f"data.path={LOGS}",
    "model.backbone=shared_bottom",
    "model.embedding_dim=4",
    "model.bottom=[8]",
    "model.tower=[4]",
    "training.batch_size=2048",
    "training.pretrain.max_epochs=1",
    "training.finetune.max_epochs=1",
    "training.arms=[control]",
    "evaluation.bootstrap=20",
    "evaluation.min_auc=0",
    "evaluation.max_calibration_error=1",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and the root it has for itself."""
    root = tmp_path_factory.mktemp("deskdrop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        file = compiled(config_of("deskdrop", root, *SETTINGS), root)
        done = Run(file, root, training_batch_size=1024).wait()
    assert done.error is None, done.error
    return done, root


def test_metrics_weights_and_artifacts_are_the_local_runners(run, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = config_of("deskdrop", tmp_path, *SETTINGS, "training.batch_size=1024")
    check_same_results(run[0].folder, run_locally(config))


def test_the_model_is_pushed_and_the_report_is_the_page_of_the_run(run):
    done, root = run
    serving = root / "serving" / "deskdrop"
    assert serving_versions.versions(serving) == [1]
    assert serving_versions.verify(serving / "1") == []
    page = (done.folder / "run-report" / "page").read_bytes()
    assert page == (done.folder / "reporter" / "report" / "report.html").read_bytes()


def test_the_digests_of_what_lies_outside_name_every_raw_file(run):
    import hashlib

    found = read_json(run[0].folder / "outside-digests" / "digests" / "outside.json")
    raw = {
        name.removeprefix("file "): d
        for name, d in found["FileExampleGen"].items()
        if name.startswith("file ")
    }
    assert set(raw) == {file.name for file in LOGS.glob("users_interactions*")}
    for name, digest in raw.items():
        assert digest == hashlib.sha256((LOGS / name).read_bytes()).hexdigest()
