"""Reporter: one self-contained HTML page about a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from components.base import (
    EXAMPLE_ANOMALIES,
    EXAMPLE_STATISTICS,
    INFRA_BLESSING,
    MODEL_BLESSING,
    MODEL_EVALUATION,
    MODEL_RUN,
    PUSHED_MODEL,
    REPORT,
    TRANSFORM_GRAPH,
    Component,
)
from rmtl_tf.config import Strict

REPORT_FILE = "report.html"


class ReporterParameters(Strict):
    """What the page says about the run beyond its artifacts."""

    name: str = Field(min_length=1, description="of the run: the heading")
    config: dict[str, Any] = Field(
        default_factory=dict, description="the run's configuration; empty: what the Trainer recorded"
    )


class Reporter(Component):
    """Writes `report/report.html`; see `rmtl_tf.report`."""

    INPUTS: ClassVar[Mapping[str, str]] = {
        "statistics": EXAMPLE_STATISTICS,
        "anomalies": EXAMPLE_ANOMALIES,
        "transform_graph": TRANSFORM_GRAPH,
        "model_run": MODEL_RUN,
        "evaluation": MODEL_EVALUATION,
        "blessing": MODEL_BLESSING,
        "infra_blessing": INFRA_BLESSING,
        "pushed": PUSHED_MODEL,
    }
    OUTPUTS: ClassVar[Mapping[str, str]] = {"report": REPORT}
    PARAMETERS: ClassVar[type[Strict]] = ReporterParameters

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: ReporterParameters
    ) -> None:
        """Writes the page.

        Raises:
            UserError: an input artifact lacks its JSON file.
        """
        from rmtl_tf.report.build import build_report

        build_report(inputs, outputs["report"] / REPORT_FILE, parameters.name, parameters.config)
