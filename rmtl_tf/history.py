"""Which earlier records each record has, and their inputs gathered batch by batch.

Nothing of size records x history is kept: a record's history is a stretch of the records that stand before
it, so two numbers a row say which, and what is known of a label follows from two times a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from rmtl_tf.features.spec import HistorySpec, history_input

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class History:
    """The earlier records of R rows, of which M are records and the others look-ahead rows.

    Attributes:
        spec: how far back, and what of each record.
        record: [M] int64, row of every record, in order.
        first: [R] int64, rank (place in `record`) of the first record of the row's session.
        newest: [R] int64, rank of the last record with a strictly earlier timestamp than the row's;
            `first` - 1 where there is none. A look-ahead row has the numbers of the record it copies.
        now: [R] int64, the row's timestamp, seconds.
        known: [M, tasks] int64, a label is known at every time after this one.
        positive: [M, tasks] int64, and to be 1 after this one; never: the largest int64.
    """

    spec: HistorySpec
    record: np.ndarray
    first: np.ndarray
    newest: np.ndarray
    now: np.ndarray
    known: np.ndarray
    positive: np.ndarray


def find_history(
    spec: HistorySpec,
    timestamp: np.ndarray,
    session: np.ndarray,
    lookahead: np.ndarray,
    labels: Mapping[str, np.ndarray],
    label_times: Mapping[str, np.ndarray],
) -> History:
    """The history of the rows of windows that stand one after another, sessions together, in time order.

    Args:
        timestamp: [R] int64, seconds.
        session: [R], one number for all rows of a session.
        lookahead: [R] bool, True for a row that only shows the first record of the next window.
        labels: label column -> [R]; those of `spec.tasks` are read.
        label_times: label column -> [R] int64, when its label came to be; absent: with the record.
    """
    record = np.flatnonzero(~lookahead)
    # Counting the records before a row gives a record its own rank, a look-ahead row that of its original.
    rank = np.cumsum(~lookahead) - ~lookahead
    time = timestamp[record]
    begins = np.diff(session[record], prepend=-1) != 0
    later = begins | (np.diff(time, prepend=time[:1]) != 0)
    places = np.arange(record.size)
    first = np.maximum.accumulate(np.where(begins, places, 0))
    same_time = np.maximum.accumulate(np.where(later, places, 0))  # rank of the first record of this second
    known, positive = [], []
    for task in spec.tasks:
        came = np.maximum(label_times.get(task.label, timestamp)[record], time)
        known.append(time + task.delay)
        positive.append(np.where(labels[task.label][record] == 1, came + task.delay, _NEVER))
    return History(
        spec=spec,
        record=record,
        first=first[rank],
        newest=same_time[rank] - 1,
        now=timestamp,
        known=np.array(known, np.int64).reshape(-1, record.size).T,
        positive=np.array(positive, np.int64).reshape(-1, record.size).T,
    )


class HistoryGatherer:
    """Gathers the `history/...` inputs of rows; the columns are handed to TensorFlow once.

    Args:
        history: of the table.
        features: row numbers of any shape -> {input: its values there}.
    """

    def __init__(self, history: History, features: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]) -> None:
        self._spec, self._features = history.spec, features
        self._record, self._first, self._newest, self._now, self._known, self._positive = (
            tf.constant(column)
            for column in (
                history.record,
                history.first,
                history.newest,
                history.now,
                history.known,
                history.positive,
            )
        )

    def __call__(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Rows [N] -> {`history/<input or task>`: [N, H]}, the newest last, 0 in front of the oldest."""
        back = tf.range(self._spec.length - 1, -1, -1, tf.int64)
        rank = tf.gather(self._newest, rows)[:, tf.newaxis] - back  # [N, H]
        present = rank >= tf.gather(self._first, rows)[:, tf.newaxis]
        rank = tf.maximum(rank, 0)
        values = self._features(tf.gather(self._record, rank))
        inputs = {history_input(name): _where(present, values[name]) for name in self._spec.inputs}
        now = tf.gather(self._now, rows)[:, tf.newaxis, tf.newaxis]
        past = [tf.cast(tf.gather(times, rank) < now, tf.int32) for times in (self._known, self._positive)]
        codes = 1 + past[0] + past[1]  # [N, H, tasks]; a label is known when it is known to be 1
        for k, task in enumerate(self._spec.tasks):
            inputs[history_input(task.name)] = _where(present, codes[:, :, k])
        return inputs


def _where(present: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.where(present, values, tf.zeros_like(values))
