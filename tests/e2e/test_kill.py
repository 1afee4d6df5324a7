"""`kill -9` at random moments: nothing half-visible, and the rerun ends with the same weights."""

from __future__ import annotations

import random
import signal
import subprocess

import h5py
import numpy as np

from components.store import EXECUTION_FILE
from rmtl_tf import serving_versions
from rmtl_tf.files import digest_json, digest_tree, read_json
from tests.e2e.conftest import ROOT, command, only

KILLS = 10
ARMS = ("pretrained", "control", "paper", "recommended")


def weights_of(root):
    weights = {}
    for arm in ARMS:
        with h5py.File(only(root, f"Trainer/*/model_run/weights/{arm}.weights.h5")) as stored:
            stored.visititems(
                lambda name, item, arm=arm: (
                    weights.update({f"{arm}/{name}": item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
    return weights


def check_nothing_is_half_visible(root):
    """Every visible step is as its execution.json says; every pushed version is whole."""
    for step in root.glob("[A-Z]*/*"):
        if step.name.startswith("."):
            continue
        for key, output in read_json(step / EXECUTION_FILE)["outputs"].items():
            assert digest_json(digest_tree(step / key)) == output["digest"], step
    serving = root / "serving" / "simulator"
    for version in serving_versions.versions(serving):
        assert serving_versions.verify(serving / str(version)) == []


def test_killed_runs_end_as_an_undisturbed_one(timed, tmp_path):
    undisturbed, _, whole = timed
    moments = random.Random(2)
    expected = weights_of(undisturbed)
    killed, roots = 0, 0
    while killed < KILLS:
        roots += 1
        root = tmp_path / f"killed-{roots}"
        while True:
            pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
            process = subprocess.Popen(command(root), cwd=ROOT, start_new_session=True, **pipes)
            try:
                wait = moments.uniform(0.5, whole) if killed < KILLS else None
                _, errors = process.communicate(timeout=wait)
                assert process.returncode == 0, errors.decode()
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
                check_nothing_is_half_visible(root)
        check_nothing_is_half_visible(root)
        actual = weights_of(root)
        assert actual.keys() == expected.keys()
        for name, values in expected.items():
            assert values.tobytes() == actual[name].tobytes(), name
        predictions = [
            np.load(only(r, "Evaluator/*/evaluation/predictions.npz")) for r in (undisturbed, root)
        ]
        for name in predictions[0].files:
            np.testing.assert_array_equal(predictions[0][name], predictions[1][name])
    print(f"{killed} kills in {roots} roots; an undisturbed run takes {whole:.0f} s")
