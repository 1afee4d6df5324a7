"""Runs of the whole pipeline as a user starts them: `pipeline.py` in its own process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The smallest run that trains every kind of arm; a few seconds beside TensorFlow's start.
SMALL = (
    "data.simulate.events=4000",
    "data.session.max_steps=20",
    "model.backbone=mmoe",
    "model.experts=2",
    "model.embedding_dim=4",
    "model.bottom=[8]",
    "model.tower=[4]",
    "training.batch_size=256",
    "training.checkpoint_steps=3",
    "training.pretrain.max_epochs=3",
    "training.finetune.max_epochs=2",
    "training.finetune.learning_rate=0.001",
    "training.critic.bottom=[8]",
    "training.critic.tower=[4]",
    "training.critic.action=4",
    "training.critic.max_epochs=2",
    "training.arms=[control, paper, recommended]",
    "evaluation.bootstrap=20",
    "evaluation.min_auc=0",
    "evaluation.max_calibration_error=1",
)


def command(root: Path, *overrides: str, action: str = "run", config: str = "simulator") -> list[str]:
    settings = [f"root={root}", *SMALL, *overrides]
    script = [sys.executable, str(ROOT / "pipeline.py"), action, "--config", f"configs/{config}.yaml"]
    return [*script, "--set", *settings]


def run_pipeline(root: Path, *overrides: str, action: str = "run", config: str = "simulator"):
    """The finished process; its output is text."""
    arguments = command(root, *overrides, action=action, config=config)
    return subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)


def only(directory: Path, pattern: str) -> Path:
    found = list(directory.glob(pattern))
    assert len(found) == 1, f"{pattern} below {directory}: {found}"
    return found[0]


@pytest.fixture(scope="session")
def timed(tmp_path_factory):
    """(pipeline root, process, seconds) of one small run that was not disturbed."""
    root = tmp_path_factory.mktemp("finished")
    began = time.monotonic()
    process = run_pipeline(root)
    seconds = time.monotonic() - began
    assert process.returncode == 0, process.stderr
    return root, process, seconds


@pytest.fixture(scope="session")
def finished(timed):
    """(pipeline root, process) of that run. Copy the root before running anything in it that changes it."""
    return timed[:2]
