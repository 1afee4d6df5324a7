"""The rules of sessions: time, parents of labels, and windows that go on in the next Example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rmtl_tf.data.session_reader import LOOKAHEAD, SESSION_ID
from rmtl_tf.data.validation.anomaly import DATASET, Hit
from rmtl_tf.data.validation.contract import ExpectedColumn
from rmtl_tf.data.validation.decode import Batch, first_values
from rmtl_tf.schema import DataSchema


def time_hits(batch: Batch, schema: DataSchema) -> Iterator[Hit]:
    """Where a timestamp is earlier than the one before it in the window."""
    if schema.timestamp not in batch.columns:
        return
    values, rows = batch.values(schema.timestamp)
    times = values.to_numpy(zero_copy_only=False)
    back = np.flatnonzero((np.diff(times) < 0) & (np.diff(rows) == 0)) + 1
    if back.size:
        yield Hit("time_order", schema.timestamp, rows[back], f"{times[back[0]]} after {times[back[0] - 1]}")


def parent_hits(batch: Batch, schema: DataSchema) -> Iterator[Hit]:
    """Where a label is 1 though the label of its parent task is not (conversion implies click)."""
    labels = dict(zip(schema.task_names, schema.labels, strict=True))
    for task, label in zip(schema.tasks, schema.labels, strict=True):
        if task.parent is None or not {label, labels[task.parent]} <= batch.columns.keys():
            continue
        parent = labels[task.parent]
        equal = batch.lengths(label) == batch.lengths(parent)
        (child_values, rows), (parent_values, parent_rows) = batch.values(label), batch.values(parent)
        child = child_values.to_numpy(zero_copy_only=False)[equal[rows]]
        above = parent_values.to_numpy(zero_copy_only=False)[equal[parent_rows]]
        wrong = np.flatnonzero((child == 1) & (above != 1))
        if wrong.size:
            yield Hit("parent_label", label, rows[equal[rows]][wrong], f"1 where {parent!r} is 0")


def window_hits(
    batch: Batch, schema: DataSchema, columns: Sequence[ExpectedColumn], last: bool
) -> Iterator[Hit]:
    """Where a window says it goes on and does not, or goes on and does not say so.

    A window with `lookahead` 1 ends with a copy of the first record of the next Example, which is of the same
    session; one with 0 ends its session. Rows count from the batch's own Examples, as in all hits: an
    Example that goes on wrongly is named by the one after it.

    Args:
        batch: with its repeated Example: the one before.
        last: whether the file ends with this batch.
    """
    if not {SESSION_ID, LOOKAHEAD, schema.timestamp} <= batch.columns.keys() or batch.size == 0:
        return
    session, lookahead = first_values(batch, SESSION_ID), first_values(batch, LOOKAHEAD)
    goes_on = pc.equal(lookahead, 1).fill_null(False).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(~pc.is_in(lookahead, pa.array([0, 1, None])).to_numpy(zero_copy_only=False))
    odd = odd[odd >= batch.repeated] - batch.repeated
    if odd.size:
        yield Hit("lookahead", LOOKAHEAD, odd, "neither 0 nor 1")
    same = pc.equal(session.slice(0, batch.size - 1), session.slice(1))
    same = same.fill_null(False).to_numpy(zero_copy_only=False)
    for wrong, value in (
        (goes_on[:-1] & ~same, "1, but the next Example is of another session"),
        (~goes_on[:-1] & same, "0, but the next Example is of the same session"),
    ):
        if (rows := np.flatnonzero(wrong) + 1 - batch.repeated).size:
            yield Hit("lookahead", LOOKAHEAD, rows, value)
    if last and goes_on[-1]:
        row = np.array([batch.size - 1 - batch.repeated])
        yield Hit("lookahead", LOOKAHEAD, row, "1, but the file ends")
    yield from _copies(batch, np.flatnonzero(goes_on[:-1] & same), columns)


def _copies(batch: Batch, rows: np.ndarray, columns: Sequence[ExpectedColumn]) -> Iterator[Hit]:
    """Where the last step of an Example in `rows` is not the first of the next one."""
    for column in columns:
        if column.length != "steps" or column.name not in batch.columns:
            continue
        lengths = batch.lengths(column.name)
        ends = np.cumsum(lengths)
        filled = rows[(lengths[rows] > 0) & (lengths[rows + 1] > 0)]
        values = batch.columns[column.name].flatten()
        copy, original = (values.take(pa.array(at)) for at in (ends[filled] - 1, ends[filled]))
        equal = pc.equal(copy, original).to_numpy(zero_copy_only=False)
        if column.type == "float":
            equal |= (pc.is_nan(copy).to_numpy(False)) & (pc.is_nan(original).to_numpy(False))
        wrong = filled[~equal] + 1 - batch.repeated
        if wrong.size:
            yield Hit("lookahead", column.name, wrong, "the look-ahead record is not the next window's first")


def empty_hits(steps: np.ndarray, unread: Sequence[Hit] = ()) -> Iterator[Hit]:
    """Examples without a record; `steps` [B]. Those of `unread` could not be read at all."""
    empty = steps == 0
    for hit in unread:
        if hit.feature == DATASET:
            empty[hit.rows] = False
    if (rows := np.flatnonzero(empty)).size:
        yield Hit("too_few_values", DATASET, rows, "no record")
