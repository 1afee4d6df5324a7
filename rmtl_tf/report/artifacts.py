"""Reads the artifacts a report is made of. Layouts: `docs/architecture.md`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json
from rmtl_tf.report.lineage import Execution, read_lineage

QUARANTINE_ROWS = 20


@dataclass(frozen=True)
class Artifacts:
    """What one run left: the parsed JSON files and arrays.

    Attributes:
        quarantine: the first rows of the quarantine file.
        vocabulary: number of kept values of each categorical input.
        collisions: of each hashed input, what `rmtl_tf.data.collisions.statistics` says.
        omega: arm -> float32 [n, K], a sample of weights on train records.
        labels: int [N, K] of the test split; None where the file is absent.
        probabilities: arm -> float [N, K].
        tensorboard: its folder as `<Component>/<key>/...` below the pipeline root; None where absent.
        root: the pipeline root.
    """

    statistics: Mapping[str, Any]
    anomalies: Mapping[str, Any]
    quarantine: tuple[Mapping[str, str], ...]
    vocabulary: Mapping[str, int]
    collisions: Mapping[str, Any]
    run: Mapping[str, Any]
    omega: Mapping[str, np.ndarray]
    evaluation: Mapping[str, Any]
    labels: np.ndarray | None
    probabilities: Mapping[str, np.ndarray]
    blessing: Mapping[str, Any]
    infra: Mapping[str, Any]
    pushed: Mapping[str, Any]
    lineage: tuple[Execution, ...]
    tensorboard: str | None
    root: Path

    @property
    def tasks(self) -> list[str]:
        return [str(task) for task in self.evaluation["tasks"]]

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the order of the evaluation ("pretrained", "control", ...)."""
        return [str(arm["name"] if isinstance(arm, dict) else arm) for arm in self.evaluation["arms"]]

    @property
    def export(self) -> str:
        return str(self.evaluation["export"])

    @property
    def chosen(self) -> bool:
        """Whether validation metrics chose the exported arm; otherwise the configuration names it."""
        config = self.run.get("config") or {}
        return bool((config.get("training") or {}).get("export") == "best")

    @property
    def stood(self) -> list[str]:
        """The arms whose fine-tuning never beat the pretrained model on validation: they have its weights."""
        kept = {arm.get("name") for arm in self.run.get("arms") or () if arm.get("incumbent_kept")}
        return [arm for arm in self.arms if arm in kept and arm != "pretrained"]

    def same_model(self, arm: str, other: str) -> bool:
        """Whether two arms ended with the same weights, those of the pretrained model."""
        return arm != other and {arm, other} <= {"pretrained", *self.stood}

    def below_root(self, path: Any) -> str:
        """A path as seen from the pipeline root, so that the page does not depend on where that is."""
        try:
            return Path(str(path)).relative_to(self.root).as_posix()
        except ValueError:
            return str(path)


def read_artifacts(inputs: Mapping[str, Path]) -> Artifacts:
    """Reads the Reporter's input artifacts; keys as in `components.reporter`.

    Arrays, vocabulary, quarantine and lineage may be absent; the JSON files may not.

    Raises:
        UserError: a JSON file is missing or no JSON object.
    """
    predictions = _arrays(inputs["evaluation"] / "predictions.npz")
    tensorboard = inputs["model_run"] / "tensorboard"
    collisions = inputs["transform_graph"] / "collisions.json"
    return Artifacts(
        statistics=_json(inputs["statistics"] / "statistics.json"),
        anomalies=_json(inputs["anomalies"] / "anomalies.json"),
        quarantine=_quarantine(inputs["statistics"] / "quarantine.csv"),
        vocabulary=_vocabulary(inputs["transform_graph"] / "vocabulary"),
        collisions=_json(collisions) if collisions.is_file() else {},
        run=_json(inputs["model_run"] / "run.json"),
        omega=_arrays(inputs["model_run"] / "omega.npz"),
        evaluation=_json(inputs["evaluation"] / "evaluation.json"),
        labels=predictions.get("labels"),
        probabilities={
            name.partition("/")[2]: values
            for name, values in predictions.items()
            if name.startswith("probabilities/")
        },
        blessing=_json(inputs["blessing"] / "blessing.json"),
        infra=_json(inputs["infra_blessing"] / "infra.json"),
        pushed=_json(inputs["pushed"] / "pushed.json"),
        lineage=read_lineage(inputs[key] for key in sorted(inputs)),
        tensorboard="/".join(tensorboard.resolve().parts[-4:]) if tensorboard.is_dir() else None,
        root=inputs["model_run"].resolve().parents[2],
    )


def _json(path: Path) -> Mapping[str, Any]:
    advice = "Run the pipeline again; it makes missing artifacts anew."
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"report: expected JSON in {path}, received: {error}. {advice}") from None
    if not isinstance(value, dict):
        raise UserError(
            f"report: expected a JSON object in {path}, received {type(value).__name__}. {advice}"
        )
    return value


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _quarantine(path: Path) -> tuple[Mapping[str, str], ...]:
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        lines = (line.replace("\0", "\N{REPLACEMENT CHARACTER}") for line in stream)
        rows = []
        try:
            for row in islice(csv.DictReader(lines), QUARANTINE_ROWS):
                rows.append({str(key): str(value or "") for key, value in row.items() if key})
        except csv.Error:  # a field beyond csv's limit: what was readable is shown
            pass
        return tuple(rows)


def _vocabulary(directory: Path) -> dict[str, int]:
    sizes = {}
    for path in sorted(directory.glob("*.txt")):
        with path.open("rb") as stream:
            sizes[unquote(path.stem)] = sum(1 for _ in stream)
    return sizes
