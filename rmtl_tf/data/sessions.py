"""Sessions: which events belong together, in what order, and how long ones are cut into windows."""

from __future__ import annotations

import numpy as np
import polars as pl

from rmtl_tf.config import SessionConfig
from rmtl_tf.data.datasets.base import FILE, LINE, SESSION
from rmtl_tf.schema import DataSchema

START = "#start"
STEP = "#step"
WINDOW = "#window"
LOOKAHEAD = "lookahead"


def session_key(schema: DataSchema, config: SessionConfig) -> str:
    """The column that keeps all events of a session together: the session column, or the user."""
    key = schema.session if config.by == "column" and schema.session else schema.user
    assert key is not None  # Plan.check
    return key


def assign_sessions(events: pl.DataFrame, schema: DataSchema, config: SessionConfig) -> pl.DataFrame:
    """Adds `SESSION`, from the session column or from the user and an inactivity gap.

    By gap, an event more than `gap_minutes` after the user's last begins a session, whose id is
    `<user>-<timestamp of its first event>`. Events are returned in the order of file and line.
    """
    if config.by == "column":
        return events.with_columns(pl.col(session_key(schema, config)).alias(SESSION)).sort(FILE, LINE)
    key = session_key(schema, config)
    time, user = pl.col(schema.timestamp), pl.col(key)
    events = events.sort(key, schema.timestamp, FILE, LINE)
    begins = (user != user.shift()).fill_null(True) | (time - time.shift() > config.gap_minutes * 60)
    start = pl.when(begins).then(time).forward_fill()
    return events.with_columns((user + "-" + start.cast(pl.String)).alias(SESSION)).sort(FILE, LINE)


def order_records(records: pl.DataFrame, schema: DataSchema) -> pl.DataFrame:
    """Sorts records by (session start, session id, timestamp, file, line); adds `START` and `STEP`.

    `START` is the timestamp of the session's first record (unix seconds), `STEP` counts from 0. Equal
    timestamps keep the order of the raw rows.
    """
    records = records.with_columns(pl.col(schema.timestamp).min().over(SESSION).alias(START))
    records = records.sort(START, SESSION, schema.timestamp, FILE, LINE)
    row = pl.int_range(pl.len(), dtype=pl.Int64)
    begins = (pl.col(SESSION) != pl.col(SESSION).shift()).fill_null(True)
    return records.with_columns((row - pl.when(begins).then(row).forward_fill()).alias(STEP))


def fill_context(records: pl.DataFrame, schema: DataSchema) -> pl.DataFrame:
    """Gives every record of a session its first non-missing value of each context feature.

    The user of a session is one and never missing.
    """
    context = [feature.name for feature in schema.inputs if feature.context and feature.name != schema.user]
    return records.with_columns(pl.col(name).drop_nulls().first().over(SESSION) for name in context)


def other_users(events: pl.DataFrame, schema: DataSchema) -> pl.Series:
    """True for events whose user is not the user of their session's first event; a bool for each row.

    None is where the events name no user.
    """
    if schema.user not in events.columns:
        return pl.repeat(False, events.height, dtype=pl.Boolean, eager=True)
    first = pl.col(schema.user).sort_by(schema.timestamp, FILE, LINE).first().over(SESSION)
    return events.select((pl.col(schema.user) != first).alias("other"))["other"]


def cut_windows(records: pl.DataFrame, max_steps: int) -> pl.DataFrame:
    """Cuts ordered records into windows of at most `max_steps`, with a look-ahead record after each cut.

    Every window but a session's last gets one more row, a copy of the next window's first record, which
    only shows the next state.

    Returns:
        The records with `WINDOW` (number of the window, from 0, over the whole frame; rows of a window
        stand together in order) and `LOOKAHEAD` (1 on every row of a window that ends with such a copy).
    """
    records = records.with_columns((pl.col(STEP) // max_steps).alias("#part"), pl.lit(False).alias("#copy"))
    copies = records.filter((pl.col("#part") > 0) & (pl.col(STEP) % max_steps == 0))
    copies = copies.with_columns(pl.col("#part") - 1, pl.lit(True).alias("#copy"))
    if copies.height:
        records = pl.concat([records, copies]).sort(START, SESSION, "#part", STEP)
    window = (pl.struct(SESSION, "#part").rle_id()).cast(pl.Int64)
    lookahead = pl.col("#copy").any().over(WINDOW).cast(pl.Int64).alias(LOOKAHEAD)
    return records.with_columns(window.alias(WINDOW)).with_columns(lookahead).drop("#part", "#copy")


def window_offsets(windows: pl.DataFrame) -> np.ndarray:
    """Where each window of `cut_windows` begins, and the number of rows last: int64 [windows + 1]."""
    numbers = windows[WINDOW].to_numpy()
    return np.concatenate([np.flatnonzero(np.diff(numbers, prepend=-1)), [numbers.size]]).astype(np.int64)
