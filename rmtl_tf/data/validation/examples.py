"""Validates the session Examples that ExampleGen wrote, batch by batch, and their statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmtl_tf.data.feature_stats import FEATURE_STATS_FILE
from rmtl_tf.data.growing import newest_spans, span_statistics
from rmtl_tf.data.session_reader import SESSION_ID
from rmtl_tf.data.splits import SPLITS, split_dir
from rmtl_tf.data.validation.anomaly import Anomaly, Findings
from rmtl_tf.data.validation.compare import Comparison, compare
from rmtl_tf.data.validation.contract import ExpectedColumn, session_columns
from rmtl_tf.data.validation.decode import Batch, first_values, read_batches
from rmtl_tf.data.validation.distribution import read_dataset
from rmtl_tf.data.validation.schema_rules import length_hits, value_hits
from rmtl_tf.data.validation.session_index import SessionIndex
from rmtl_tf.data.validation.session_rules import empty_hits, parent_hits, time_hits, window_hits
from rmtl_tf.data.validation.statistics_rules import check_comparisons, check_presence
from rmtl_tf.errors import UserError
from rmtl_tf.schema import DataSchema


@dataclass(frozen=True)
class Validation:
    """What was looked at, and what was found.

    Attributes:
        examples: Examples of each split or file.
        anomalies: errors first.
        comparisons: every measure of drift and skew, passed or not.
    """

    examples: Mapping[str, int]
    anomalies: Sequence[Anomaly]
    comparisons: Sequence[Comparison]

    @property
    def errors(self) -> list[Anomaly]:
        return [anomaly for anomaly in self.anomalies if anomaly.severity == "ERROR"]


def validate_examples(
    examples: Path,
    statistics: Path,
    schema: DataSchema,
    feedback: Sequence[str],
    severity: Mapping[str, str],
    earlier: Path | None = None,
) -> Validation:
    """Looks at every Example of every split, at each split's statistics, at skew, and at drift.

    Args:
        examples, statistics: what ExampleGen wrote; of logs that grow, the newest span is compared with the
            one before it.
        feedback: names of the feedback columns.
        severity: rule -> ERROR, WARNING or IGNORE, in the place of the rule's own.
        earlier: statistics of an earlier ExampleGen to compare the train split with.

    Raises:
        UserError: a split has no file, a file is damaged, or statistics are missing.
    """
    findings, index = Findings(severity), SessionIndex()
    columns = session_columns(schema, feedback)
    counts = {}
    for split in SPLITS:
        paths = sorted(split_dir(examples, split).glob("data-*.tfrecord"))
        if not paths:
            raise UserError(
                f"{split_dir(examples, split)}: expected session Examples (data-*.tfrecord), found none. "
                "Run ExampleGen again."
            )
        counts[split] = sum(
            _check_file(path, split, path.relative_to(examples).as_posix(), schema, columns, findings, index)
            for path in paths
        )
    for anomaly in index.anomalies():
        findings.add(anomaly)
    datasets = {split: read_dataset(split_dir(statistics, split) / FEATURE_STATS_FILE) for split in SPLITS}
    for split, dataset in datasets.items():
        check_presence(dataset, split, schema, findings)
    comparisons = [
        comparison
        for split in SPLITS[1:]
        for comparison in compare(datasets["train"], datasets[split], schema, "skew")
    ]
    if earlier is not None:
        before = read_dataset(split_dir(earlier, "train") / FEATURE_STATS_FILE)
        names = ("earlier train", "train")
        comparisons += compare(before, datasets["train"], schema, "drift", names, "train")
    if spans := newest_spans(statistics):
        before, after = (read_dataset(span_statistics(statistics, span)) for span in spans)
        names = (f"span {spans[0]}", f"span {spans[1]}")
        comparisons += compare(before, after, schema, "drift", names, SPLITS[-1])
    check_comparisons(comparisons, findings)
    return Validation(counts, findings.anomalies(), comparisons)


def _check_file(
    path: Path,
    split: str,
    name: str,
    schema: DataSchema,
    columns: Sequence[ExpectedColumn],
    findings: Findings,
    index: SessionIndex,
) -> int:
    """Looks at one shard; returns its number of Examples."""
    index.start_file(split, name, path)
    found: set[str] = set()
    total = 0
    batches = read_batches(path, columns)
    upcoming = next(batches, None)
    while upcoming is not None:
        (batch, hits), upcoming = upcoming, next(batches, None)
        own = batch.own()
        steps = _steps(own, columns)
        expected = [column for column in columns if column.needed or column.name in own.columns]
        hits += [
            *empty_hits(steps, hits),
            *length_hits(own, expected, steps, hits),
            *value_hits(own, columns),
            *time_hits(own, schema),
            *parent_hits(own, schema),
            *window_hits(batch, schema, columns, last=upcoming is None),
        ]
        for hit in hits:
            findings.add_hit(hit, split, name, own.first_row, _session(own, int(hit.rows[0])))
        index.add(batch)
        found |= own.columns.keys()
        total = own.first_row + own.size
    for column in columns:
        if total and column.needed and column.name not in found:
            findings.drop("too_few_values", column.name, name)
            findings.add(Anomaly("missing_feature", "ERROR", column.name, split, name, total))
    return total


def _steps(batch: Batch, columns: Sequence[ExpectedColumn]) -> np.ndarray:
    """Records of each Example [B]: the median length, so that one wrong list does not accuse all others."""
    lengths = [
        batch.lengths(column.name)
        for column in columns
        if column.length == "steps" and column.name in batch.columns
    ]
    if not lengths:
        return np.zeros(batch.size, np.int64)
    return np.sort(np.stack(lengths), axis=0)[len(lengths) // 2]


def _session(batch: Batch, row: int) -> str:
    if SESSION_ID not in batch.columns:
        return ""
    session = first_values(batch, SESSION_ID)[row].as_py()
    return (session or b"").decode(errors="backslashreplace")
