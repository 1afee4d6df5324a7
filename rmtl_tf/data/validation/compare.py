"""Drift and skew: how far two sets of statistics lie apart, against the thresholds of the schema."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from rmtl_tf.data.validation.distribution import Distribution, distributions, side_by_side
from rmtl_tf.data.validation.measures import gaps, jensen_shannon, shares
from rmtl_tf.schema import DataSchema

Kind = Literal["drift", "skew"]
INFINITY_NORM, JENSEN_SHANNON = "infinity_norm", "jensen_shannon"


@dataclass(frozen=True)
class Comparison:
    """One feature, compared by one measure.

    Attributes:
        before, after: names of the two data sets.
        split: the split that `after` is, or is a part of.
        distance: None where one side has no records or no such feature, or counts it in another way.
        value: where the shares differ most; share_before, share_after: its shares.
    """

    feature: str
    kind: Kind
    measure: str
    before: str
    after: str
    split: str
    threshold: float
    distance: float | None = None
    value: str = ""
    share_before: float = 0.0
    share_after: float = 0.0

    @property
    def passed(self) -> bool:
        return self.distance is not None and self.distance <= self.threshold

    @property
    def sentence(self) -> str:
        between = f"{self.before} against {self.after}: {self.measure}"
        if self.distance is None:
            return f"{between} cannot be computed, one side lacks the feature or counts it in another way"
        relation = "within" if self.passed else "above"
        return (
            f"{between} {self.distance:.4f} is {relation} {self.threshold:.4f}; most at {self.value!r}: "
            f"{self.share_before:.2%} became {self.share_after:.2%}"
        )


def compare(
    before: Any,
    after: Any,
    schema: DataSchema,
    kind: Kind = "drift",
    names: tuple[str, str] | None = None,
    split: str | None = None,
) -> list[Comparison]:
    """Compares every feature that has a comparator of this kind in the schema.

    Args:
        before, after: `DatasetFeatureStatistics`: of an earlier and a later span (drift), or of the train
            split and other data (skew).
        kind: whether `drift_comparator` or `skew_comparator` has the thresholds.
        names: what the two are called; default: as the statistics say.
        split: the split that `after` is a part of; default: it is one.

    Returns:
        A comparison for each feature and measure, in schema order.
    """
    first, second = distributions(before), distributions(after)
    called = names or (before.name, after.name)
    within = split or called[1]
    found = []
    for feature in schema.features:
        comparator = feature.drift if kind == "drift" else feature.skew
        if comparator is None:
            continue
        thresholds = {INFINITY_NORM: comparator.infinity_norm, JENSEN_SHANNON: comparator.jensen_shannon}
        for measure, threshold in thresholds.items():
            if threshold is not None:
                blank = Comparison(feature.name, kind, measure, called[0], called[1], within, threshold)
                found.append(_measure(blank, first.get(feature.name), second.get(feature.name)))
    return found


def _measure(blank: Comparison, before: Distribution | None, after: Distribution | None) -> Comparison:
    if before is None or after is None or not before.total or not after.total:
        return blank
    try:
        names, first, second = side_by_side(before, after)
    except ValueError:
        return blank
    p, q = shares(first), shares(second)
    difference = gaps(first, second)
    difference[-1] = 0  # OTHERS: many rare values together are no value
    worst = int(difference.argmax())
    return replace(
        blank,
        distance=jensen_shannon(first, second)
        if blank.measure == JENSEN_SHANNON
        else float(difference[worst]),
        value=names[worst],
        share_before=float(p[worst]),
        share_after=float(q[worst]),
    )
