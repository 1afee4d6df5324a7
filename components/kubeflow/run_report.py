"""The page at the end of a run on Kubeflow: the report if there is one, else what failed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.kubeflow.interface import OUTSIDE_STEP
from components.kubeflow.records import opened, read_records
from components.reporter import REPORT_FILE, Reporter
from components.run_status import FAILED, INTERRUPTED, RAN

_REPORT = "report"
_ENDED_BADLY = (FAILED, INTERRUPTED)


def write_run_report(folder: str, name: str, steps: Sequence[str], page: Path) -> None:
    """Writes `page`: the Reporter's page, or one about a run that did not get so far.

    Args:
        folder: of the run, with the records of its steps.
        name: of the run.
        steps: of the pipeline, in order, without those that only Kubeflow has.
        page: HTML file.
    """
    records = read_records(folder, [OUTSIDE_STEP, *steps])
    page.parent.mkdir(parents=True, exist_ok=True)
    report = next((record for record in records if record["step"] == Reporter.__name__), None)
    if report is not None and report["state"] == RAN:
        with opened(f"{report['outputs'][_REPORT]}/{REPORT_FILE}") as source, page.open("wb") as target:
            shutil.copyfileobj(source, target)
        return
    page.write_text(render(name, records, folder), encoding="utf-8")


def render(name: str, records: Sequence[Mapping[str, Any]], folder: str) -> str:
    """The page about a run that did not finish.

    Args:
        records: as `read_records` gives them.
        folder: where they were looked for.
    """
    from rmtl_tf.report.page import page_text

    return page_text(
        Path(__file__).parent / "run_report.html.jinja",
        name=name,
        records=records,
        folder=folder,
        known=any("started" in record for record in records),
        bad=[record for record in records if record["state"] in _ENDED_BADLY],
        artifacts=_artifacts(records),
    )


def _artifacts(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Where the artifacts are that exist: outputs of steps that ran, and what they read from cached ones."""
    found: dict[str, str] = {}
    for record in records:
        found |= record.get("inputs", {})
        if record["state"] == RAN:
            found |= record["outputs"]
    return found
