"""TFRS needs a process in which `tf.keras` is Keras 2, so its tests run in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LEGACY = Path(__file__).with_name("in_legacy_keras.py")


def python(*arguments: str, legacy: bool) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    if legacy:
        environment["TF_USE_LEGACY_KERAS"] = "1"
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_bridge_in_a_process_with_legacy_keras():
    done = python("-m", "pytest", "-p", "no:cacheprovider", "-n", "0", str(LEGACY), legacy=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]


def test_without_legacy_keras_one_sentence_says_what_to_set():
    script = (
        "from rmtl_tf.errors import UserError\n"
        "try:\n    import rmtl_tf.bridges.tfrs\n"
        "except UserError as error:\n    print(error)\n"
    )
    done = python("-c", script, legacy=False)
    assert done.stdout.count("\n") == 1, done.stderr[-1000:]
    assert "set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported" in done.stdout


def test_the_example_compares_arms_from_one_start():
    done = python("-m", "examples.tfrs_multitask", "--events", "3000", "--epochs", "1", legacy=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "paper: omega click " in done.stdout
    assert "correlation of Q with the return click " in done.stdout
    lines = done.stdout.split("Test AUC")[1].splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [
        [arm, task]
        for arm in ("pretrained", "control", "paper", "recommended")
        for task in ("click", "conversion")
    ]
    values = {tuple(line.split()[:2]): float(line.split()[2]) for line in lines}
    differences = {tuple(line.split()[:2]): line.split()[3:] for line in lines}
    assert differences["control", "click"] == []
    difference = float(differences["paper", "click"][0])
    assert abs(difference - (values["paper", "click"] - values["control", "click"])) < 2e-4
