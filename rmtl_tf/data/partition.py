"""The work on one partition: events of whole sessions in, session windows and tables out. No Beam here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from rmtl_tf.config import DataConfig
from rmtl_tf.data.datasets import get_reader
from rmtl_tf.data.datasets.base import FILE, LINE, SESSION, Column, label_time
from rmtl_tf.data.feedback import add_feedback, feedback_columns
from rmtl_tf.data.multivalued import lengths_name, split_values
from rmtl_tf.data.quarantine import quarantine
from rmtl_tf.data.records import batch_of
from rmtl_tf.data.sessions import (
    LOOKAHEAD,
    assign_sessions,
    cut_windows,
    fill_context,
    order_records,
    other_users,
    session_key,
    window_offsets,
)
from rmtl_tf.data.shuffle import partition_numbers
from rmtl_tf.data.spans import SPAN_SIZE
from rmtl_tf.errors import UserError
from rmtl_tf.schema import DataSchema, Feature

_BATCH = 1 << 16  # windows encoded at a time
# Of raw CSV: a worker holds the events of one partition, some ten times as much.
_SHARD_BYTES = 12 << 20
_FEWEST_SHARDS = 4


@dataclass(frozen=True)
class Plan:
    """What every worker needs to know.

    Attributes:
        names: the raw files' names, sorted; a file's number is its place here.
        paths: where they are, in the same order.
        block_size: bytes read at a time; the result does not depend on it.
        side: folder with the tables that the data set's reader prepared.
        size: about how many bytes the files are as plain CSV.
        span_size: bytes of a plain file that one worker parses; the result does not depend on it.
        log_span: the logs are those of one span (`rmtl_tf.data.growing`): no session goes on in another.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    config: DataConfig
    schema: DataSchema
    block_size: int
    side: str = ""
    size: int = 0
    span_size: int = SPAN_SIZE
    log_span: str | None = None

    @property
    def shards(self) -> int:
        """The number of partitions, each a file in every split: as configured, or by the size of the logs."""
        return self.config.shards or max(_FEWEST_SHARDS, math.ceil(self.size / _SHARD_BYTES))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns to read: a session column is not needed where sessions are made by gap."""
        columns = get_reader(self.config.dataset).columns(self.schema)
        if self.config.session.by == "column":
            return columns
        return tuple(column for column in columns if column.name != self.schema.session)

    @property
    def feedback(self) -> tuple[str, ...]:
        return feedback_columns(self.config.feedback, self.schema)

    def check(self) -> None:
        """Refuses what cannot work with any logs.

        Raises:
            UserError: sessions by column without a session column; a feature named as ExampleGen names its
                own; feedback of unknown tasks; a data set that lacks features of the schema.
        """
        if self.config.session.by == "column" and self.schema.session is None:
            raise UserError(
                "data.session.by is column, but no feature of the schema has the tag 'session'. Tag one, or "
                "make sessions from user and time: --set data.session.by=gap."
            )
        if self.config.session.by == "gap" and self.schema.user is None:
            raise UserError(
                "data.session.by is gap, but no feature of the schema has the tag 'user'. Tag one, or use a "
                "session column: --set data.session.by=column."
            )
        own = {SESSION, LOOKAHEAD, *self.feedback}
        own |= {lengths_name(feature.name) for feature in self.schema.inputs if feature.multivalued}
        for feature in self.schema.features:
            if feature.name in own and feature.name != self.schema.session:
                raise UserError(
                    f'schema: the feature name "{feature.name}" is taken by ExampleGen. Rename the feature.'
                )
        assert self.columns


def partition_of(events: pl.DataFrame, plan: Plan) -> np.ndarray:
    """The partition of each event, int64 [N]: the same for a session key everywhere."""
    return partition_numbers(events[session_key(plan.schema, plan.config.session)], plan.shards)


def make_records(events: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All events of one partition -> its ordered records with context and feedback, and rows to quarantine.

    Blocks may come in any order: rows are put in the order of file and line first.
    """
    schema, config = plan.schema, plan.config
    reader = get_reader(config.dataset)
    events = events.sort(FILE, LINE)
    values = [name for name in events.columns if name not in (FILE, LINE)]
    again = ~events.select(pl.struct(values).is_first_distinct() | (not reader.drop_repeated)).to_series()
    duplicates = _rows(events.filter(again), "duplicate row", "")
    events = assign_sessions(events.filter(~again), schema, config.session)
    if config.session.by == "column":
        other = other_users(events, schema)
    else:  # sessions made by gap are of one user
        other = pl.repeat(False, events.height, dtype=pl.Boolean, eager=True)
    user = schema.user if schema.user in events.columns else None
    strangers = _rows(events.filter(other), "second user in a session", user or "")
    records, excluded = reader.to_records(events.filter(~other), schema, Path(plan.side))
    records = fill_context(order_records(records, schema), schema)
    records = add_feedback(records, config.feedback, schema)
    if plan.log_span is not None:  # a session column may use an id on both sides of midnight
        records = records.with_columns(pl.col(SESSION) + pl.lit(f"@{plan.log_span}"))
    bad = [quarantine(duplicates), quarantine(strangers), quarantine(excluded, excluded=True)]
    return records, pl.concat(bad)


def _rows(frame: pl.DataFrame, reason: str, column: str) -> pl.DataFrame:
    value = pl.col(column) if column else pl.lit("")
    return frame.select(FILE, LINE, reason=pl.lit(reason), column=pl.lit(column), value=value)


def example_batches(records: pl.DataFrame, plan: Plan) -> tuple[int, Iterator[pa.RecordBatch]]:
    """Ordered records of one split -> the number of session windows, and batches of them to encode."""
    # A label came to be with its record where nothing else is said, and never before it.
    records = records.with_columns(
        pl.max_horizontal(name, plan.schema.timestamp).alias(name)
        for name in _label_times(records, plan.schema)
    )
    windows = cut_windows(records, plan.config.session.max_steps)
    offsets = window_offsets(windows)
    return offsets.size - 1, _batches(windows, offsets, plan.schema, plan.feedback)


def _batches(
    windows: pl.DataFrame, offsets: np.ndarray, schema: DataSchema, feedback: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    single = [feature for feature in schema.inputs if not feature.multivalued]
    several = [feature for feature in schema.inputs if feature.multivalued]
    context = [SESSION, LOOKAHEAD, *(feature.name for feature in single if feature.context)]
    steps = [feature.name for feature in single if not feature.context]
    steps += [schema.timestamp, *schema.labels, *_label_times(windows, schema), *feedback]
    windows = windows.select({*context, *steps, *(feature.name for feature in several)})
    for first in range(0, offsets.size - 1, _BATCH):
        part = offsets[first : first + _BATCH + 1]
        rows = windows.slice(int(part[0]), int(part[-1] - part[0]))
        begins = rows[part[:-1] - part[0]]
        one = np.arange(part.size, dtype=np.int64)
        lists = {name: _lists(begins[name], one) for name in context}
        lists |= {name: _lists(rows[name], part - part[0]) for name in steps}
        for feature in several:
            values, offsets_of = (begins, one) if feature.context else (rows, part - part[0])
            lists |= _lists_of_several(values[feature.name], offsets_of, feature)
        yield batch_of(lists)


def _label_times(records: pl.DataFrame, schema: DataSchema) -> list[str]:
    """The times of labels that the data set gives."""
    return [label_time(label) for label in schema.labels if label_time(label) in records.columns]


def _lists_of_several(text: pl.Series, offsets: np.ndarray, feature: Feature) -> dict[str, pa.Array]:
    """The two lists of a feature with several values; row i of each is of the records from offsets[i] on."""
    column = pl.col(text.name)
    values = text.to_frame().select(split_values(column, feature.separator, feature.max_values)).to_series()
    lengths = values.list.len().cast(pl.Int64)
    ends = np.concatenate([[0], np.cumsum(lengths.to_numpy())])
    flat = values.explode(empty_as_null=False)
    return {
        feature.name: _lists(flat, ends[offsets]),
        lengths_name(feature.name): _lists(lengths, offsets),
    }


def _lists(values: pl.Series, offsets: np.ndarray) -> pa.Array:
    """A list column whose row i is values[offsets[i]:offsets[i + 1]]; missing is b"" or NaN."""
    if values.dtype == pl.String:
        array = values.fill_null("").to_arrow().cast(pa.large_binary())
    elif values.dtype.is_float():
        array = values.cast(pl.Float32).fill_null(float("nan")).to_arrow()
    else:
        array = values.to_arrow()
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), array)
