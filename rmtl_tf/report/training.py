"""What training did: weights, critics, learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from rmtl_tf.report import plots
from rmtl_tf.report.artifacts import Artifacts
from rmtl_tf.report.curves import Curve
from rmtl_tf.report.text import UNDEFINED, as_float, general, joined, number, signed

PHASES = {
    "pretrain": "A · pretraining",
    "critic": "B · critics",
    "finetune": "C · fine-tuning",
    "scratch": "Agents from scratch",
}
# The metrics of a history that are drawn; TensorBoard has the rest, and the losses of single tasks.
_SHOWN = {
    "loss": "Training loss",
    "auc": "Validation AUC",
    "logloss": "Validation Logloss",
    "fit": "Validation fit: −(Q − return)²",
    "correlation": "Validation correlation of Q",
}


@dataclass(frozen=True)
class Omega:
    """Weights of one arm and task. `plot` is None where they are all equal or no sample was kept."""

    arm: str
    task: str
    mean: str
    std: str
    median: str
    p99: str
    largest: str
    plot: Markup | None


@dataclass(frozen=True)
class Critic:
    """How well the critic of one arm and task foretells the exact return."""

    arm: str
    task: str
    correlation: str
    share: float
    bias: str
    q_mean: str
    return_mean: str
    reading: str


@dataclass(frozen=True)
class PhaseCurves:
    title: str
    plots: tuple[Markup, ...]


def omegas(artifacts: Artifacts, style: Mapping[str, plots.Look]) -> tuple[Omega, ...]:
    rows = []
    recorded = artifacts.run.get("omega") or {}
    for i, arm in enumerate(a for a in artifacts.arms if a in recorded or a in artifacts.omega):
        for k, task in enumerate(artifacts.tasks):
            sample = artifacts.omega.get(arm)
            values = (
                sample[:, k]
                if sample is not None and sample.ndim == 2 and k < sample.shape[1]
                else np.empty(0)
            )
            values = values[np.isfinite(values)].astype(np.float64)
            stats = (recorded.get(arm) or {}).get(task) or {}
            rows.append(
                Omega(
                    arm,
                    task,
                    mean=number(stats.get("mean"), 3),
                    std=number(stats.get("std"), 3),
                    median=number(stats.get("p50"), 3),
                    p99=number(stats.get("p99"), 3),
                    largest=number(stats.get("max"), 3),
                    plot=_omega_plot(f"omega-{i}-{k}", f"{arm}, {task}", values, style[arm]),
                )
            )
    return tuple(rows)


def _omega_plot(name: str, title: str, values: np.ndarray, look: plots.Look) -> Markup | None:
    if values.size == 0 or np.ptp(values) <= 1e-6 * max(1.0, abs(float(values[0]))):
        return None
    top = float(np.quantile(values, 0.995))
    return plots.histogram(name, title, values, look, "weight omega", top)


def critics(artifacts: Artifacts) -> tuple[Critic, ...]:
    rows = []
    recorded = artifacts.run.get("critics") or {}
    for arm in artifacts.arms:
        for task in artifacts.tasks:
            stats = (recorded.get(arm) or {}).get(task)
            if not stats:
                continue
            correlation = as_float(stats.get("correlation"))
            rows.append(
                Critic(
                    arm,
                    task,
                    number(correlation, 3),
                    min(max(correlation, 0.0), 1.0) if math.isfinite(correlation) else 0.0,
                    signed(stats.get("bias"), 3),
                    number(stats.get("q_mean"), 3),
                    number(stats.get("return_mean"), 3),
                    reading(correlation),
                )
            )
    return tuple(rows)


def reading(correlation: float) -> str:
    """A correlation in words. The limits are ours, for orientation only."""
    if not math.isfinite(correlation):
        return "not defined"
    for limit, words in ((0.7, "follows it closely"), (0.3, "follows it partly"), (0.1, "follows it weakly")):
        if correlation >= limit:
            return words
    return "does not follow it" if correlation > -0.1 else "runs against it"


def learning_curves(artifacts: Artifacts, style: Mapping[str, plots.Look]) -> tuple[PhaseCurves, ...]:
    """One panel for each phase and metric, a line for each arm; in phase C also the pretrained level."""
    pretrained = _pretrained(artifacts)
    entries = [entry for entry in artifacts.run.get("history") or () if isinstance(entry, dict)]
    found = dict.fromkeys([*PHASES, *(str(entry.get("phase")) for entry in entries)])
    result = []
    for p, phase in enumerate(found):
        rows = [(str(e.get("arm") or "pretrained"), e) for e in entries if str(e.get("phase")) == phase]
        flat = [(arm, as_float(entry.get("epoch")), _flat(entry)) for arm, entry in rows]
        names = sorted({name for _, _, values in flat for name in values if _wanted(name)}, key=_order)
        drawn = []
        for m, name in enumerate(names):
            curves = _curves(flat, name, style)
            if curves:
                level = pretrained.get(name) if phase == "finetune" else None
                drawn.append(plots.history(f"history-{p}-{m}", _label(name), curves, style, level))
        if drawn:
            result.append(PhaseCurves(PHASES.get(phase, phase), tuple(drawn)))
    return tuple(result)


def _pretrained(artifacts: Artifacts) -> dict[str, float]:
    """Validation metrics of the pretrained model, those that are defined."""
    arms = [arm for arm in artifacts.run.get("arms") or () if arm.get("name") == "pretrained"]
    values = _flat(arms[0].get("validation") or {}) if arms else {}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _curves(
    flat: list[tuple[str, float, dict[str, float]]], name: str, style: Mapping[str, plots.Look]
) -> dict[str, Curve]:
    points: dict[str, list[tuple[float, float]]] = {}
    for arm, epoch, values in flat:
        if arm in style and math.isfinite(epoch) and math.isfinite(values.get(name, math.nan)):
            points.setdefault(arm, []).append((epoch, values[name]))
    return {arm: Curve(*np.array(points[arm]).T) for arm in style if arm in points}


def _flat(entry: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of an entry by name; those of a nested mapping as `outer/inner`."""
    values: dict[str, float] = {}
    for key, value in entry.items():
        if isinstance(value, dict):
            values |= _flat(value, f"{prefix}{key}/")
        else:
            values[f"{prefix}{key}"] = as_float(value)
    return values


def _wanted(name: str) -> bool:
    return name == "loss" or (name.partition("/")[0] in _SHOWN and not name.startswith("loss/"))


def _order(name: str) -> tuple[int, str]:
    return list(_SHOWN).index(name.partition("/")[0]), name


def _label(name: str) -> str:
    metric, _, task = name.partition("/")
    return f"{_SHOWN[metric]}, {task}" if task else _SHOWN[metric]


def arms(artifacts: Artifacts) -> list[dict[str, Any]]:
    """One row for each trained arm: agent, weighting, best epoch, validation AUC, time."""
    rows = []
    for arm in artifacts.run.get("arms") or ():
        auc = arm.get("validation_auc") or {}
        rows.append(
            {
                "name": str(arm.get("name")),
                "agent": _agent(arm.get("agent")),
                "weighting": _settings(arm.get("weighting")),
                "powers": _powers(arm.get("power")),
                "critic": _settings(arm.get("critic")),
                "best_epoch": general(arm.get("best_epoch")),
                "auc": [number(auc.get(task)) for task in artifacts.tasks],
                "seconds": arm.get("seconds"),
                "kept": bool(arm.get("incumbent_kept")),
            }
        )
    return rows


def _agent(values: Any) -> str:
    """The agent with its settings; `rmtl`, the three phases, has none."""
    return "rmtl" if isinstance(values, dict) and values.get("name") == "rmtl" else _settings(values)


def _powers(choice: Any) -> str:
    """The powers validation chose, and of which; empty where it chose none."""
    if not isinstance(choice, dict):
        return ""
    chosen = ", ".join(f"{general(power)} for {task}" for task, power in (choice.get("chosen") or {}).items())
    tried = joined([general(as_float(float(power))) for power in choice.get("candidates") or ()])
    return f"power by validation AUC: {chosen}; tried {tried}"


def _settings(values: Any) -> str:
    """A mapping as `name, key value, ...`; a dash where empty."""
    if not isinstance(values, dict) or not values:
        return UNDEFINED
    if values.get("name") == "constant":  # its other settings have no effect
        return "constant"
    name = [str(values["name"])] if "name" in values else []
    rest = [f"{key} {_plain(value)}" for key, value in values.items() if key != "name" and value is not None]
    return ", ".join(name + rest)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " / ".join(f"{key} {general(part)}" for key, part in value.items())
    return "-".join(str(part) for part in value) if isinstance(value, list) else general(value)
