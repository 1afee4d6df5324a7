"""Makes the page: one HTML file without scripts, fonts, images or anything else from outside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from rmtl_tf.report import comparison, curves, data, findings, plots, text, training
from rmtl_tf.report.artifacts import Artifacts, read_artifacts
from rmtl_tf.report.page import page_text


def build_report(
    inputs: Mapping[str, Path], page: Path, name: str, config: Mapping[str, Any] | None = None
) -> None:
    """Writes the report of a run to the file `page`. Same inputs: same bytes.

    Args:
        inputs: the Reporter's input artifacts by key.
        name: of the run.
        config: the run's configuration; None or empty: the one the Trainer recorded.

    Raises:
        UserError: an artifact lacks its JSON file.
    """
    html = render(read_artifacts(inputs), name, config)
    page.write_text(html, encoding="utf-8", errors="replace", newline="\n")


def render(artifacts: Artifacts, name: str, config: Mapping[str, Any] | None = None) -> str:
    """The page as text."""
    filters = {
        "count": text.count,
        "percent": text.percent,
        "number": text.number,
        "general": text.general,
        "moment": text.moment,
        "duration": text.duration,
        "yaml": _yaml,
        "joined": text.joined,
    }
    style = plots.looks([*artifacts.arms, "pretrained", "control"], artifacts.export)
    return page_text(
        Path(__file__).parent / "template.html.jinja",
        filters,
        name=name,
        config=config or artifacts.run.get("config") or {},
        a=artifacts,
        tasks=artifacts.tasks,
        arms=artifacts.arms,
        confidence=text.percent(artifacts.evaluation.get("confidence")).replace(".0", ""),
        metrics=text.METRICS,
        verdict_unclear=text.NO_CLEAR_DIFFERENCE,
        legend=lambda place, shown: [
            (arm, plots.swatch(f"legend-{place}-{i}", style[arm]))
            for i, arm in enumerate(artifacts.arms)
            if arm in shown
        ],
        headline=findings.headline(artifacts),
        standing=findings.standing(artifacts),
        findings=findings.findings(artifacts),
        forests=[plot for key in ("auc", "logloss") if (plot := comparison.forest(artifacts, key, style))],
        tables=[(task, comparison.table(artifacts, task)) for task in artifacts.tasks],
        mean_table=comparison.mean_table(artifacts),
        baseline=comparison.baseline(artifacts),
        curve_groups=_curve_groups(artifacts, style),
        omegas=training.omegas(artifacts, style),
        critics=training.critics(artifacts),
        phases=training.learning_curves(artifacts, style),
        trained=training.arms(artifacts),
        slices=data.slices(artifacts),
        splits=data.splits(artifacts),
        session_lengths=data.session_length_plot(artifacts),
        features=data.features(artifacts),
        reasons=data.reasons(artifacts),
        quarantine=data.quarantine(artifacts),
    )


def _curve_groups(
    artifacts: Artifacts, style: Mapping[str, plots.Look]
) -> list[tuple[str, list[Markup], str]]:
    """(task, plots, remark) for each task: the exported arm against control and pretrained."""
    wanted = dict.fromkeys((artifacts.export, "control", "pretrained"))
    groups: list[tuple[str, list[Markup], str]] = []
    for k, task in enumerate(artifacts.tasks):
        if artifacts.labels is None or not artifacts.probabilities:
            groups.append((task, [], "No predictions were kept for this run."))
            continue
        labels = artifacts.labels[:, k]
        scores = {arm: artifacts.probabilities[arm][:, k] for arm in wanted if arm in artifacts.probabilities}
        scores = {arm: score for arm, score in scores.items() if np.isfinite(score).all()}
        remark = ""
        drawn = []
        if curves.one_class(labels):
            kind = "no record" if labels.size == 0 else "only one class of label"
            remark = (
                f"The test split has {kind} for this task: ROC and precision–recall curves are not defined."
            )
        elif scores:
            drawn.append(
                plots.lines(
                    f"roc-{k}",
                    f"ROC, {task}",
                    {arm: curves.roc(labels, score) for arm, score in scores.items()},
                    style,
                    "false-positive rate",
                    "true-positive rate",
                    diagonal=True,
                )
            )
            drawn.append(
                plots.lines(
                    f"pr-{k}",
                    f"Precision–recall, {task}",
                    {arm: curves.precision_recall(labels, score) for arm, score in scores.items()},
                    style,
                    "recall",
                    "precision",
                    level=float(labels.mean()),
                )
            )
        if scores and labels.size:
            drawn.append(
                plots.lines(
                    f"calibration-{k}",
                    f"Calibration, {task}",
                    {arm: curves.calibration(labels, score) for arm, score in scores.items()},
                    style,
                    "mean predicted probability",
                    "observed rate",
                    diagonal=True,
                    markers=True,
                )
            )
        groups.append((task, drawn, remark))
    return groups


def _yaml(value: Any) -> str:
    return yaml.safe_dump(
        _plain(value), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def _plain(value: Any) -> Any:
    """Only what YAML knows: mappings, lists, scalars."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
