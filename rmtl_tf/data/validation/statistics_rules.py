"""The rules that look at statistics: how often a feature is there, and how far it drifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rmtl_tf.data.validation.anomaly import Anomaly, Findings
from rmtl_tf.data.validation.compare import JENSEN_SHANNON, Comparison
from rmtl_tf.data.validation.distribution import distributions
from rmtl_tf.schema import DataSchema


def check_presence(dataset: Any, split: str, schema: DataSchema, findings: Findings) -> None:
    """Holds the share of records with a value against `presence.min_fraction`.

    Args:
        dataset: `DatasetFeatureStatistics` of the split.
    """
    for name, distribution in distributions(dataset).items():
        feature = next((feature for feature in schema.features if feature.name == name), None)
        if feature is None or not dataset.num_examples:
            continue
        present = 1 - distribution.missing / dataset.num_examples
        if present < feature.min_fraction:
            detail = f"present in {present:.2%} of records, expected {feature.min_fraction:.2%}"
            findings.add(
                Anomaly("low_presence", "ERROR", name, split, count=int(distribution.missing), detail=detail)
            )


def check_comparisons(comparisons: Sequence[Comparison], findings: Findings) -> None:
    """Makes an anomaly of every comparison that is beyond its threshold, or that could not be made."""
    for comparison in comparisons:
        if not comparison.passed:
            findings.add(_anomaly(comparison))


def _anomaly(comparison: Comparison) -> Anomaly:
    anomaly = Anomaly(
        comparison.kind, "WARNING", comparison.feature, comparison.split, detail=comparison.sentence
    )
    if comparison.distance is None:
        return replace(anomaly, type="COMPARATOR_TREATMENT_DATA_MISSING")
    jensen = comparison.measure == JENSEN_SHANNON
    type_name = "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH" if jensen else "COMPARATOR_L_INFTY_HIGH"
    return replace(anomaly, type=type_name, value=f"{comparison.distance:.4f}")
