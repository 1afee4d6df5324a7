"""A whole run on a million simulated events, from raw log to pushed model, beside a peer's training alone."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.document import table
from benchmarks.train.bench import Bench
from benchmarks.train.setting import Setting
from benchmarks.train.worker import ROOT, environment

EVENTS = 1_000_000
_EPOCHS = 2  # of every phase: the run ends where early stopping would not


def run_section(bench: Bench) -> str:
    """`configs/simulator.yaml` with a million events, batches of 2048 and two epochs a phase."""
    events = 3000 if bench.quick else EVENTS
    with tempfile.TemporaryDirectory(prefix="bench-run-") as scratch:
        began = time.perf_counter()
        run_pipeline(Path(scratch), events)
        whole = time.perf_counter() - began
        steps = component_seconds(Path(scratch))
        trained = json.loads(next(Path(scratch).glob("Trainer/*/model_run/run.json")).read_text())
    rows = [(name, f"{seconds:.1f}", f"{seconds / whole:.0%}") for name, seconds in steps.items()]
    rest = whole - sum(steps.values())
    rows.append(("start and end of the process", f"{rest:.1f}", f"{rest / whole:.0%}"))
    rows.append(("**all**", f"{whole:.1f}", "100%"))
    parts = [f"{events:,} events.", table(("component", "s ", "share "), rows)]
    if bench.torch:
        parts.append(_beside_torch(bench, trained, whole, steps.get("Trainer", math.nan)))
    return "\n\n".join(parts)


def run_pipeline(root: Path, events: int) -> None:
    """Runs the pipeline in a process of its own.

    Raises:
        RuntimeError: it failed; with the end of its output.
    """
    phases = [f"training.{phase}.max_epochs={_EPOCHS}" for phase in ("pretrain", "critic", "finetune")]
    changes = [f"root={root}", f"data.simulate.events={events}", "training.batch_size=2048", *phases]
    command = [sys.executable, "pipeline.py", "run", "--config", "configs/simulator.yaml", "--set", *changes]
    done = subprocess.run(
        command, cwd=ROOT, env=environment("ours"), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def component_seconds(root: Path) -> dict[str, float]:
    """Seconds of every component of the run at `root`, in their order."""
    from components.run_status import read_status

    return {step["name"]: step["seconds"] for step in read_status(root)["steps"]}


def setting_of(trained: dict[str, Any]) -> Setting:
    """The model of a run's `run.json` with fields of equal size, as many rows together, without numbers."""
    model = trained["config"]["model"]
    sizes = [size for _, size in trained["inputs"]["categorical"]]
    values = {
        name: model[name] for name in ("backbone", "shared_experts", "task_experts", "levels", "dropout")
    }
    return Setting(
        **values,
        width=model["embedding_dim"],
        bottom=tuple(model["bottom"]),
        tower=tuple(model["tower"]),
        fields=len(sizes),
        rows=-(-sum(sizes) // len(sizes)),
        batch=trained["config"]["training"]["batch_size"],
    )


def _beside_torch(bench: Bench, trained: dict[str, Any], whole: float, trainer: float) -> str:
    setting = setting_of(trained)
    torch = bench.worker("torch")
    torch.make(setting)
    torch.steps(10)
    count = 50
    step = torch.steps(count) / count
    batches = trained["records"]["train"] / setting.batch
    arms = len(trained["arms"])  # with the pretrained actor
    phase_a = step * batches * _EPOCHS
    alone = phase_a * arms
    return (
        f"PyTorch trains the same actor ({setting.backbone}, all categorical inputs, no numbers) at "
        f"{step * 1e3:.1f} ms a step: {phase_a:.1f} s for the epochs of phase A, {alone:.1f} s for those of "
        f"all {arms} actors. The whole run, with its data, critics, metrics, export and checks, takes "
        f"{whole / alone:.1f} times the latter; its Trainer, tracing and evaluation included, "
        f"{trainer / alone:.1f} times."
    )
