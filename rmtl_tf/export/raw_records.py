"""The records of session Examples as raw inputs, as a client would send them, history lists included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from rmtl_tf.config import FeedbackConfig
from rmtl_tf.data.datasets.base import label_time
from rmtl_tf.data.feedback import feedback_columns
from rmtl_tf.data.session_reader import Records, SessionReader
from rmtl_tf.features.apply import Column
from rmtl_tf.features.spec import HistorySpec, history_list
from rmtl_tf.history import History, find_history
from rmtl_tf.schema import DataSchema

_BATCH = 4096


def raw_records(
    split: Path, schema: DataSchema, feedback: FeedbackConfig, history: HistorySpec | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Raw columns of a split's records, batch by batch in file order, look-ahead rows left out.

    Args:
        split: a `Split-<name>` directory of ExampleGen.
        history: which lists, and their length L; None: no lists.

    Yields:
        Column or list -> [n] or [n, L]: bytes as objects, float32 or int64; lists, those of features with
        several values too, are padded at their end.
    """
    reader = SessionReader(schema, feedback_columns(feedback, schema))
    for shard in sorted(split.glob("data-*.tfrecord")):
        parts = reader.read(shard)
        if history is not None:  # the windows of a session may stand in several reads
            whole = list(parts)
            parts = iter([_join(whole)] if whole else [])
        for records in parts:
            yield from _batches(records, schema, history)


def _join(parts: Sequence[Records]) -> Records:
    columns: dict[str, Column] = {}
    for name in parts[0].columns:
        values = [part.columns[name] for part in parts]
        columns[name] = (
            np.concatenate(values) if isinstance(values[0], np.ndarray) else pa.concat_arrays(values)
        )
    return Records(
        session_id=pa.concat_arrays([part.session_id for part in parts]),
        lookahead=np.concatenate([part.lookahead for part in parts]),
        steps=np.concatenate([part.steps for part in parts]),
        columns=columns,
    )


def _batches(
    records: Records, schema: DataSchema, history: HistorySpec | None
) -> Iterator[dict[str, np.ndarray]]:
    most = {feature.name: feature.max_values for feature in schema.inputs}
    columns = {name: _numpy(values, most.get(name, 1)) for name, values in records.columns.items()}
    lookahead = ~records.kept
    past = None
    if history is not None:
        # A window continues the session of the window before it exactly when that one was cut.
        begins = np.concatenate([[1], 1 - records.lookahead[:-1]])
        session = np.repeat(np.cumsum(begins), records.steps)
        times = {label: columns[label_time(label)] for label in schema.labels if label_time(label) in columns}
        past = find_history(history, columns[schema.timestamp], session, lookahead, columns, times)
    kept = np.flatnonzero(~lookahead)
    for begin in range(0, kept.size, _BATCH):
        rows = kept[begin : begin + _BATCH]
        batch = {name: values[rows] for name, values in columns.items()}
        yield batch if past is None else batch | _lists(past, rows, columns)


def _numpy(values: Column, most: int) -> np.ndarray:
    """A column [N]; lists of at most `most` values as [N, most], shorter ones with b"" at their end."""
    if isinstance(values, np.ndarray):
        return values
    if not pa.types.is_large_list(values.type):
        return np.array(values.to_pylist(), object)
    padded = np.full((len(values), most), b"", object)
    for row, several in enumerate(values.to_pylist()):
        padded[row, : len(several)] = several
    return padded


def _lists(history: History, rows: np.ndarray, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The history lists [n, L] of some rows."""
    spec, newest = history.spec, history.newest[rows, np.newaxis]
    oldest = np.maximum(history.first[rows, np.newaxis], newest - spec.length + 1)
    rank = oldest + np.arange(spec.length)
    there = rank <= newest
    rank = np.where(there, rank, 0)
    row, now = history.record[rank], history.now[rows, np.newaxis]
    lists = {}
    for name in spec.inputs:
        missing = b"" if columns[name].dtype == object else np.float32(np.nan)
        lists[history_list(name)] = np.where(there, columns[name][row], missing)
    for k, task in enumerate(spec.tasks):
        code = 1 + (history.known[rank, k] < now) + (history.positive[rank, k] < now)
        lists[history_list(task.name)] = np.where(there, code, 0)
    return lists
