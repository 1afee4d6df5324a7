"""The artifact ExampleAnomalies: `anomalies.json`, and `Split-<name>/SchemaDiff.pb` as TFX writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rmtl_tf.data.splits import split_dir
from rmtl_tf.data.validation.anomaly import Anomaly
from rmtl_tf.data.validation.compare import INFINITY_NORM, Comparison
from rmtl_tf.data.validation.examples import Validation
from rmtl_tf.data.validation.rules import RULES
from rmtl_tf.errors import UserError
from rmtl_tf.files import write_json

ANOMALIES_FILE = "anomalies.json"
SCHEMA_DIFF_FILE = "SchemaDiff.pb"

_SHOWN = 5


def write_validation(validation: Validation, directory: Path) -> None:
    """Writes the JSON and a proto for each split; equal findings give equal bytes."""
    write_json(
        directory / ANOMALIES_FILE,
        {
            "examples": dict(validation.examples),
            "errors": len(validation.errors),
            "warnings": len(validation.anomalies) - len(validation.errors),
            "anomalies": [
                {**asdict(anomaly), "type": anomaly.reason, "sentence": anomaly.sentence}
                for anomaly in validation.anomalies
            ],
            "comparisons": [
                {**asdict(comparison), "passed": comparison.passed} for comparison in validation.comparisons
            ],
        },
    )
    for split in validation.examples:
        anomalies = [anomaly for anomaly in validation.anomalies if anomaly.split == split]
        comparisons = [comparison for comparison in validation.comparisons if comparison.split == split]
        path = split_dir(directory, split) / SCHEMA_DIFF_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(anomalies_proto(anomalies, comparisons).SerializeToString(deterministic=True))


def anomalies_proto(anomalies: Sequence[Anomaly], comparisons: Sequence[Comparison]) -> Any:
    """tensorflow_metadata's `Anomalies`: an entry a feature with its reasons, and every distance measured."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    info = anomalies_pb2.AnomalyInfo
    proto = anomalies_pb2.Anomalies(anomaly_name_format=anomalies_pb2.Anomalies.SERIALIZED_PATH)
    for anomaly in anomalies:
        entry = proto.anomaly_info[anomaly.feature] if anomaly.feature else proto.dataset_anomaly_info
        if anomaly.feature:
            entry.path.step[:] = [anomaly.feature]
        if entry.severity != info.ERROR:
            entry.severity = info.Severity.Value(anomaly.severity)
        entry.reason.add(
            type=info.Type.Value(anomaly.reason),
            short_description=RULES[anomaly.rule].meaning,
            description=anomaly.sentence,
        )
        entry.short_description = RULES[anomaly.rule].meaning if len(entry.reason) == 1 else "Multiple errors"
        entry.description = " ".join(reason.description for reason in entry.reason)
    for comparison in comparisons:
        if comparison.distance is not None:
            _add_measurement(proto, comparison)
    return proto


def _add_measurement(proto: Any, comparison: Comparison) -> None:
    for entry in proto.drift_skew_info:
        if list(entry.path.step) == [comparison.feature]:
            break
    else:
        entry = proto.drift_skew_info.add()
        entry.path.step.append(comparison.feature)
    drift = comparison.kind == "drift"
    measurement = (entry.drift_measurements if drift else entry.skew_measurements).add()
    name = "L_INFTY" if comparison.measure == INFINITY_NORM else "JENSEN_SHANNON_DIVERGENCE"
    measurement.type = type(measurement).Type.Value(name)
    measurement.value, measurement.threshold = comparison.distance, comparison.threshold


def summary(validation: Validation) -> str:
    """One line for the console."""
    examples = sum(validation.examples.values())
    if not validation.anomalies:
        return f"{examples:,} Examples: no anomaly"
    errors, warnings = len(validation.errors), len(validation.anomalies) - len(validation.errors)
    first = validation.anomalies[0].sentence
    return f"{examples:,} Examples: {errors} errors, {warnings} warnings; first: {first}"


def stop_on_errors(validation: Validation, keep: Sequence[Path]) -> None:
    """Refuses data with an anomaly of severity ERROR.

    Raises:
        UserError: names the first of them and what to do; it keeps the files `keep`.
    """
    errors = validation.errors
    if not errors:
        return
    first = "\n".join(f"  {anomaly.sentence}" for anomaly in errors[:_SHOWN])
    rules = dict.fromkeys(anomaly.rule for anomaly in errors)
    remedies = "\n".join(f"  {rule}: {RULES[rule].remedy}" for rule in rules)
    more = f"\n  and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
    raise UserError(
        f"data validation: {len(errors)} anomalies of severity ERROR.\n{first}{more}\n"
        f"What to do:\n{remedies}\n"
        f"To go on all the same: --set data.validation.severity.{errors[0].rule}=WARNING.",
        keep=tuple(keep),
    )
