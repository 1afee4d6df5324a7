"""What a person wants to read at the end of a run, and about a pipeline root at any time."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.run_status import read_status
from rmtl_tf import console, serving_labels, serving_versions
from rmtl_tf.files import read_json
from rmtl_tf.places import is_remote, place


def run_summary(artifacts: Mapping[str, Path], name: str) -> str:
    """The metrics, the blessings, and where everything is with the command that opens it.

    Args:
        artifacts: directory of each output of the run, by its key.
        name: of the run; the model is served under it.
    """
    pushed = read_json(artifacts["pushed"] / "pushed.json")
    run = read_json(artifacts["model_run"] / "run.json")
    lines = [
        "",
        console.evaluation_table(read_json(artifacts["evaluation"] / "evaluation.json")),
        "",
        *_anomaly_lines(read_json(artifacts["anomalies"] / "anomalies.json")),
        *_kept_lines(run),
        *_power_lines(run),
        *console.blessing_lines(read_json(artifacts["blessing"] / "blessing.json"), "Evaluator"),
        *console.blessing_lines(read_json(artifacts["infra_blessing"] / "infra.json"), "InfraValidator"),
        f"Pusher: {pushed['reason']}",
        "",
        *_openings(artifacts, pushed, name),
    ]
    return "\n".join(lines)


def _anomaly_lines(found: Mapping[str, Any]) -> list[str]:
    """Says that the data had warnings; errors would have stopped the run."""
    if not found["warnings"]:
        return []
    first = found["anomalies"][0]["sentence"]
    return [f"Data validation: {found['warnings']} warnings; first: {first}", ""]


def _kept_lines(run: Mapping[str, Any]) -> list[str]:
    """Says which arms are the pretrained model, so that nobody wonders about a column of zeros."""
    kept = [arm["name"] for arm in run["arms"] if arm["incumbent_kept"]]
    if not kept:
        return []
    return [
        f"{', '.join(kept)}: no epoch of fine-tuning beat the pretrained model on validation data,",
        "so the pretrained weights stand and equal arms differ by exactly 0.",
        "",
    ]


def _power_lines(run: Mapping[str, Any]) -> list[str]:
    """Says which power each task of an arm got, where validation chose it."""
    lines = []
    for arm in run["arms"]:
        choice = arm.get("power")
        if choice:
            chosen = ", ".join(f"{power:g} for {task}" for task, power in choice["chosen"].items())
            lines.append(
                f"{arm['name']}: power by validation AUC {chosen}, of {', '.join(choice['candidates'])}."
            )
    return [*lines, ""] if lines else []


def status_text(root: Path, serving_directory: Path | None) -> str:
    """The steps of the last run in `root` with their artifacts, and the pushed versions.

    Raises:
        UserError: there was no run in `root`.
    """
    status = read_status(root)
    rows = []
    for step in status["steps"]:
        outputs = [shown(root / path) for path in step["outputs"].values()] or [""]
        made = console.duration(step["made_in"]) if step["state"] in ("ran", "cached") else ""
        spent = "" if step["state"] == "not run" else console.duration(step["seconds"])
        rows.append([step["name"], step["state"], spent, made, step["key"][:16], outputs[0]])
        rows += [["", "", "", "", "", output] for output in outputs[1:]]
    cached = sum(step["state"] == "cached" for step in status["steps"])
    lines = [
        f"Run {status['run']} in {shown(root)}: {status['state']}, started {status['started']}, "
        f"{cached} of {len(status['steps'])} steps cached",
        "",
        *console.table(["step", "state", "this run", "made in", "key", "artifacts"], rows, left=6),
    ]
    errors = [step for step in status["steps"] if step["error"]]
    for step in errors:
        lines += ["", f"{step['name']} {step['state']}: {step['error']}"]
    directory = serving_directory or _recorded_serving_directory(root)
    if directory is not None:
        lines += ["", *_version_lines(directory)]
    return "\n".join(lines)


def shown(path: Path) -> str:
    """A path as a person would type it: relative where it lies below the working directory."""
    if is_remote(path):
        return str(path)
    path = Path(os.path.abspath(path))
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _openings(artifacts: Mapping[str, Path], pushed: Mapping[str, Any], name: str) -> list[str]:
    report = artifacts["report"] / "report.html"
    rows = [
        ("HTML report", shown(report), f"{opener()} {_here(report)}"),
        (
            "TensorBoard logs",
            shown(artifacts["model_run"] / "tensorboard"),
            f"{tool('tensorboard')} --logdir {_here(artifacts['model_run'] / 'tensorboard')}",
        ),
    ]
    model = place(pushed["path"]) if pushed["pushed"] else artifacts["model"] / "Format-Serving"
    title = "Pushed SavedModel" if pushed["pushed"] else "SavedModel (not pushed)"
    rows.append((title, shown(model), f"{tool('saved_model_cli')} show --dir {_here(model)} --all"))
    if pushed["pushed"]:
        base = _here(model.parent)  # docker wants a whole path
        base = base if base.startswith(("/", "$")) else f"$PWD/{base}"
        mount = f"-v {base}:/models/{name} -e MODEL_NAME={name}"
        rows.append(("  in TF Serving", "", f"docker run --rm -p 8501:8501 {mount} tensorflow/serving"))
    lines = []
    for title, path, command in rows:
        lines += [f"{title:<24}{path}".rstrip(), f"{'':<24}$ {command}"]
    return lines


def opener() -> str:
    """The command that opens a page in this system's browser."""
    return "open" if sys.platform == "darwin" else "xdg-open"


def _here(path: Path) -> str:
    """What a command on this machine reads a place as."""
    return f"$({tool('python')} pipeline.py fetch {path})" if is_remote(path) else shown(path)


def tool(name: str) -> str:
    """A console script of this Python's environment, by path where it is there."""
    path = Path(sys.executable).parent / name
    return shown(path) if path.is_file() else name


def _version_lines(directory: Path) -> list[str]:
    versions = serving_versions.versions(directory)
    if not versions:
        return [f"Pushed versions in {shown(directory)}: none"]
    listed = ", ".join(map(str, versions))
    labels = serving_labels.read_labels(directory)
    meaning = ", ".join(f"{label} {version}" for label, version in sorted(labels.items(), reverse=True))
    served = f"TF Serving serves {versions[-1]}" + (f"; {meaning}" if meaning else "")
    return [f"Pushed versions in {shown(directory)}: {listed} ({served})"]


def _recorded_serving_directory(root: Path) -> Path | None:
    """The model base path of the Pusher's newest execution in `root`."""
    records = sorted((root / "Pusher").glob("[!.]*/execution.json"), key=lambda path: path.stat().st_mtime)
    if not records:
        return None
    directory: str = read_json(records[-1])["parameters"]["directory"]
    return place(directory)
