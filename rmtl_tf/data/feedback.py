"""Past feedback inside the session, as part of the state (DESIGN 4, METHOD 11).

For a record at time `now`, over records of its session at a strictly earlier time:

- `past_records`: how many there are;
- `past_<task>_known`: of these, those with timestamp + delay < now;
- `past_<task>_positive`: of these, those whose label was 1 by then: time of the label + delay < now.

A label's time is the record's own timestamp or, if later, what the data set gives
(`datasets.base.label_time`). Times and delays are whole seconds; a fraction is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rmtl_tf.config import FeedbackConfig
from rmtl_tf.errors import UserError, nearest
from rmtl_tf.schema import DataSchema

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

PAST_RECORDS = "past_records"


def feedback_columns(config: FeedbackConfig, schema: DataSchema) -> tuple[str, ...]:
    """The feedback inputs: `past_records`, then `past_<task>_known`, `past_<task>_positive` of each task.

    Raises:
        UserError: the configuration names a task that the schema does not have.
    """
    check_feedback(config, schema)
    if not config.enabled:
        return ()
    pairs = ((f"past_{task}_known", f"past_{task}_positive") for task, _, _ in feedback_tasks(config, schema))
    return (PAST_RECORDS, *(name for pair in pairs for name in pair))


def check_feedback(config: FeedbackConfig, schema: DataSchema) -> None:
    """Refuses tasks the schema does not have."""
    tasks = schema.task_names
    for key, names in (("label_delay", tuple(config.label_delay)), ("exclude", config.exclude)):
        for name in names:
            if name not in tasks:
                raise UserError(
                    f'data.feedback.{key}: the schema has no task "{name}"; {nearest(name, tasks)}'
                )


def feedback_of(
    history: Sequence[Mapping[str, Any]], now: float, config: FeedbackConfig, schema: DataSchema
) -> dict[str, float]:
    """The feedback inputs of a request at time `now`, as a serving client computes them.

    Args:
        history: the records of the session so far, in any order: the timestamp and the labels under their
            names in the schema. A label is 1 if it is known to be 1 by now; it may be left out if not.
        now: unix seconds.

    Returns:
        A number for each of `feedback_columns`, equal to what training computed at this record.
    """
    values = dict.fromkeys(feedback_columns(config, schema), 0.0)
    if not values:
        return {}
    second = math.floor(now)
    past = [record for record in history if math.floor(record[schema.timestamp]) < second]
    values[PAST_RECORDS] = float(len(past))
    for task, label, delay in feedback_tasks(config, schema):
        known = [record for record in past if math.floor(record[schema.timestamp]) + delay < second]
        values[f"past_{task}_known"] = float(len(known))
        values[f"past_{task}_positive"] = float(sum(record.get(label, 0) == 1 for record in known))
    return values


def add_feedback(records: pl.DataFrame, config: FeedbackConfig, schema: DataSchema) -> pl.DataFrame:
    """Adds the feedback columns, float32 [N], to records in the order of `sessions.order_records`."""
    import numpy as np
    import polars as pl

    from rmtl_tf.data.datasets.base import SESSION, label_time

    if not feedback_columns(config, schema):
        return records
    session = records[SESSION].rle_id().to_numpy().astype(np.int64)
    now = records[schema.timestamp].to_numpy()
    columns = {PAST_RECORDS: _count_before(session, now, now)}
    for task, label, delay in feedback_tasks(config, schema):
        positive = records[label].to_numpy() == 1
        time = now
        if label_time(label) in records.columns:
            given = records[label_time(label)].fill_null(0).to_numpy()
            time = np.maximum(given, now)
        columns[f"past_{task}_known"] = _count_before(session, now, now - delay)
        columns[f"past_{task}_positive"] = _count_before(session, time, now - delay, positive)
    return records.with_columns(pl.Series(name, values, dtype=pl.Float32) for name, values in columns.items())


def _count_before(
    session: np.ndarray, times: np.ndarray, limits: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """For each row [N], how many rows of its session (in `mask`) have a time strictly before its limit.

    `session` [N] numbers the sessions from 0, rows of a session stand together; times in any order.
    """
    import numpy as np

    if times.size == 0:
        return np.zeros(0, np.int64)
    chosen = np.ones(times.size, bool) if mask is None else mask
    # One sorted line of all sessions: each has its own stretch, wider than any distance inside it.
    first = times.min()
    span = int(times.max() - first) + 2
    line = np.sort(session[chosen] * span + (times[chosen] - first))
    limit = session * span + np.clip(limits - first, 0, span - 1)
    before = np.searchsorted(line, limit, side="left")
    return before - np.searchsorted(line, session * span, side="left")


def feedback_tasks(config: FeedbackConfig, schema: DataSchema) -> list[tuple[str, str, int]]:
    """Task, its label column and its delay in whole seconds, for every task with feedback."""
    return [
        (task, label, math.floor(config.label_delay.get(task, 0)))
        for task, label in zip(schema.task_names, schema.labels, strict=True)
        if task not in config.exclude
    ]
