"""Anomalies: what is wrong, and where. Those of one rule, feature and file are one anomaly with a count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rmtl_tf.data.validation.rules import RULES, Severity

DATASET = ""


@dataclass(frozen=True)
class Hit:
    """Where a rule fails in a batch of Examples.

    Attributes:
        feature: the feature; `DATASET` where it is about all of the Example.
        rows: the Examples of the batch, int64, rising; an Example stands once for every value that fails.
        value: the first of these values, as text.
    """

    rule: str
    feature: str
    rows: np.ndarray
    value: str = ""


@dataclass(frozen=True)
class Anomaly:
    """A rule that fails for a feature in a file.

    Attributes:
        split: train, validation, test; empty for other files.
        file: with the Examples, below the artifact; empty where it is about statistics.
        count: how often it fails.
        first_row, last_row: the first and last Example of the file it fails in, from 0; None for statistics.
        session: id of the first one's session.
        value: the first value, or the distance.
        type: reason in the `Anomalies` proto; empty: the rule's.
        detail: what more there is to say.
    """

    rule: str
    severity: Severity
    feature: str
    split: str = ""
    file: str = ""
    count: int = 1
    first_row: int | None = None
    last_row: int | None = None
    session: str = ""
    value: str = ""
    type: str = ""
    detail: str = ""

    @property
    def reason(self) -> str:
        return self.type or RULES[self.rule].type

    @property
    def sentence(self) -> str:
        """Everything in a line: file, rows, session, feature, value, rule."""
        about = f"feature {self.feature!r} " if self.feature else "a session "
        words = [f"{about}{RULES[self.rule].meaning}"]
        if self.value:
            words.append(f"value {self.value}")
        if self.detail:
            words.append(self.detail)
        if self.first_row is not None:
            rows = f"Example {self.first_row}"
            if self.last_row != self.first_row:
                rows = f"Examples {self.first_row} to {self.last_row}"
            rows += f", {self.count:,} times" if self.count > 1 else ""
            words.append(f"{rows}{f', first in session {self.session}' if self.session else ''}")
        where = self.file or self.split
        return f"{f'{where}: ' if where else ''}{'; '.join(words)} [{self.rule}]"


class Findings:
    """Collects hits file by file, in order.

    Args:
        severity: rule -> ERROR, WARNING or IGNORE, in the place of the rule's own.
    """

    def __init__(self, severity: Mapping[str, str]) -> None:
        self._severity = {name: severity.get(name, rule.severity) for name, rule in RULES.items()}
        self._found: dict[tuple[str, str, str, str], Anomaly] = {}

    def add(self, anomaly: Anomaly) -> None:
        """Counts an anomaly; its severity is set here."""
        severity = self._severity[anomaly.rule]
        if severity == "IGNORE":
            return
        key = (anomaly.rule, anomaly.type, anomaly.feature, anomaly.file or anomaly.split)
        known = self._found.get(key)
        if known is None:
            self._found[key] = replace(anomaly, severity=severity)  # type: ignore[arg-type]
        else:
            count = known.count + anomaly.count
            self._found[key] = replace(known, count=count, last_row=anomaly.last_row)

    def drop(self, rule: str, feature: str, file: str) -> None:
        """Forgets an anomaly that another one says better."""
        self._found.pop((rule, "", feature, file), None)

    def add_hit(self, hit: Hit, split: str, file: str, first_row: int, session: str) -> None:
        """Counts a hit in a batch that begins at Example `first_row`; `session` is its first Example's."""
        first, last = first_row + int(hit.rows[0]), first_row + int(hit.rows[-1])
        anomaly = Anomaly(hit.rule, "ERROR", hit.feature, split, file, hit.rows.size, first, last)
        self.add(replace(anomaly, session=session, value=hit.value))

    def anomalies(self) -> list[Anomaly]:
        """Errors first; then as they were found."""
        return sorted(self._found.values(), key=lambda anomaly: anomaly.severity != "ERROR")
