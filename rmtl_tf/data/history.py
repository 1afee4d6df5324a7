"""The session's earlier records as a list for every record: what the model is told, and what a client sends.

The same records and delays as `rmtl_tf.data.feedback` counts, one by one: those of the session at a strictly
earlier time, in time order, with their step features and, for every task with feedback, what is known of
the label by now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rmtl_tf.config import FeedbackConfig, HistoryConfig
from rmtl_tf.data.feedback import check_feedback, feedback_tasks
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import (
    NEGATIVE,
    POSITIVE,
    UNKNOWN_YET,
    HistorySpec,
    HistoryTask,
    history_list,
)
from rmtl_tf.schema import DataSchema


def history_spec(config: HistoryConfig, feedback: FeedbackConfig, schema: DataSchema) -> HistorySpec | None:
    """The history that a model reads; None where it reads none.

    Raises:
        UserError: the item is no step feature, two inputs of a request would have one name, or `feedback`
            names a task that the schema does not have.
    """
    if config.encoder == "none":
        return None
    inputs, tasks = _steps(schema), _tasks(feedback, schema)
    if schema.item is None:
        raise UserError(
            "model.history: expected an item for every record, but the schema tags no feature 'item'."
            " Tag one, or set model.history.encoder=none."
        )
    if schema.item not in inputs:
        raise UserError(
            f"model.history: expected an item for every record, but the schema tags {schema.item!r} as "
            "'context'. Tag it 'step', or set model.history.encoder=none."
        )
    names = [history_list(name) for name in (*inputs, *(task.name for task in tasks))]
    names += [feature.name for feature in schema.features]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"model.history: two inputs of a request would be named {twice[0]!r}. Rename a feature or a "
            "task, or set model.history.encoder=none."
        )
    heads = config.heads if config.encoder == "attention" else 1
    return HistorySpec(config.encoder, config.length, heads, schema.item, inputs, tasks)


def history_of(
    history: Sequence[Mapping[str, Any]], now: float, feedback: FeedbackConfig, schema: DataSchema
) -> dict[str, list]:
    """The history lists of a request at time `now`, as a serving client computes them.

    In a batch of requests the shorter lists are padded at their end with "", NaN and 0. A model looks at
    the last `model.history.length` entries; to send no more of them is enough.

    Args:
        history: the records of the session so far, those of equal time in the order they came: the
            timestamp, step features and labels under their names in the schema. What is missing may be
            left out; a label is 1 if it is known to be 1 by now.
        now: unix seconds.

    Returns:
        `history_<step feature>` and, for every task with feedback, `history_<task>`, one entry for every
        earlier record, the newest last; equal to what training saw at this record.
    """
    second = math.floor(now)
    past = [record for record in history if math.floor(record[schema.timestamp]) < second]
    past.sort(key=lambda record: math.floor(record[schema.timestamp]))
    lists: dict[str, list] = {}
    for name in _steps(schema):
        missing: Any = "" if schema.feature(name).kind == "categorical" else math.nan
        values = [record.get(name) for record in past]
        lists[history_list(name)] = [missing if value is None else value for value in values]
    for task in _tasks(feedback, schema):
        lists[history_list(task.name)] = [
            UNKNOWN_YET
            if math.floor(record[schema.timestamp]) + task.delay >= second
            else POSITIVE
            if record.get(task.label, 0) == 1
            else NEGATIVE
            for record in past
        ]
    return lists


def _steps(schema: DataSchema) -> tuple[str, ...]:
    """Step features with one value: a list of lists is no input of a request."""
    return tuple(feature.name for feature in schema.inputs if not (feature.context or feature.multivalued))


def _tasks(feedback: FeedbackConfig, schema: DataSchema) -> tuple[HistoryTask, ...]:
    check_feedback(feedback, schema)
    if not feedback.enabled:
        return ()
    return tuple(HistoryTask(*task) for task in feedback_tasks(feedback, schema))
