"""Metrics on parts of the test split: who is served well, and who is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rmtl_tf.features.graph import UNKNOWN_ID
from rmtl_tf.inputs import RecordTable
from rmtl_tf.metrics import auc, logloss

_LENGTHS = ((1, 1), (2, 3), (4, 7), (8, 15), (16, None))
_HOURS = ((0, 6), (6, 12), (12, 18), (18, 24))


def slice_metrics(
    table: RecordTable, probabilities: np.ndarray, tasks: Sequence[str], item: str | None
) -> list[dict[str, Any]]:
    """AUC, log-loss and positive rate of every task, by session length, known or new item, and hour (UTC).

    Args:
        table: the test records.
        probabilities: [R, K].
        item: name of the item input; id 1 is an item the train split does not know. None: no such slices.

    Returns:
        One entry per slice that has records: `by`, `value`, `records`, `sessions`, `metrics` by task
        (`auc` is None where a slice has one class).
    """
    entries = []
    for by, value, chosen in _slices(table, item):
        rows = np.flatnonzero(chosen & ~table.lookahead)
        if not len(rows):
            continue
        metrics = {}
        for k, task in enumerate(tasks):
            labels, scores = table.labels[rows, k], probabilities[rows, k]
            area = float(auc(labels, scores))
            metrics[task] = {
                "auc": None if np.isnan(area) else area,
                "logloss": float(logloss(labels, scores)),
                "rate": float(labels.mean()),
            }
        sessions = len(np.unique(table.session[rows]))
        entries.append(
            {"by": by, "value": value, "records": len(rows), "sessions": sessions, "metrics": metrics}
        )
    return entries


def _slices(table: RecordTable, item: str | None) -> Iterator[tuple[str, str, np.ndarray]]:
    for low, high in _LENGTHS:
        name = f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"
        yield "session length", name, (table.length >= low) & (table.length <= (high or np.inf))
    if item is not None:
        known = table.features[item] > UNKNOWN_ID
        yield "item", "known", known
        yield "item", "new", ~known
    hour = table.timestamp // 3600 % 24
    for low, high in _HOURS:
        yield "hour (UTC)", f"{low:02d}-{high:02d}", (hour >= low) & (hour < high)
