"""The rules that look at one value, or at how many there are: what the schema says about a feature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from rmtl_tf.data.multivalued import lengths_name
from rmtl_tf.data.validate import EARLIEST, LATEST
from rmtl_tf.data.validation.anomaly import DATASET, Hit
from rmtl_tf.data.validation.contract import ExpectedColumn
from rmtl_tf.data.validation.decode import Batch
from rmtl_tf.schema import Feature


def value_hits(batch: Batch, columns: Sequence[ExpectedColumn]) -> Iterator[Hit]:
    """Where values break the schema: what they are, not how many there are."""
    for column in columns:
        if column.name not in batch.columns:
            continue
        values, rows = batch.values(column.name)
        feature = column.feature
        if column.type == "bytes":
            yield from _strings(column, values, rows)
        elif feature is not None and feature.kind == "label":
            given = values.to_numpy(zero_copy_only=False)
            yield from _hit("bad_label", column.name, rows, given, (given != 0) & (given != 1))
        elif feature is not None and feature.kind == "timestamp":
            given = values.to_numpy(zero_copy_only=False)
            yield from _hit("bad_timestamp", column.name, rows, given, (given < EARLIEST) | (given > LATEST))
        elif column.type == "float":
            yield from _numbers(column.name, values, rows, feature)


def length_hits(
    batch: Batch, columns: Sequence[ExpectedColumn], steps: np.ndarray, unread: Sequence[Hit] = ()
) -> Iterator[Hit]:
    """Where a feature has not as many values as it should.

    Args:
        steps: int64 [B], the records of each Example.
        unread: hits of rule `type`: what could not be read is not counted.
    """
    for column in columns:
        lengths, wanted = batch.lengths(column.name), _wanted(batch, column, steps)
        for hit in unread:
            if hit.rule == "type" and hit.feature in (DATASET, column.name):
                lengths[hit.rows] = wanted[hit.rows]
        if column.length not in ("at most one", "any"):
            yield from _lengths("too_few_values", column.name, lengths, wanted, lengths < wanted)
        elif column.needed:
            yield from _lengths("missing_value", column.name, lengths, wanted, lengths == 0)
        if column.length == "any":
            continue
        yield from _lengths("too_many_values", column.name, lengths, wanted, lengths > wanted)


def _wanted(batch: Batch, column: ExpectedColumn, steps: np.ndarray) -> np.ndarray:
    """How many values each Example should have, int64 [B]."""
    if column.length == "steps":
        return steps
    name = lengths_name(column.name)
    if column.length != "as lengths say" or name not in batch.columns:
        return np.ones_like(steps)
    values, rows = batch.values(name)
    sums = np.zeros_like(steps)
    np.add.at(sums, rows, values.to_numpy(zero_copy_only=False))
    return sums


def _strings(column: ExpectedColumn, values: pa.Array, rows: np.ndarray) -> Iterator[Hit]:
    name, feature = column.name, column.feature
    required = column.length == "one" if feature is None else feature.required
    text = pl.from_arrow(values)
    assert isinstance(text, pl.Series)
    given = text.bin.size() > 0
    yield from _hit("invalid_utf8", name, rows, values, _undecodable(text))
    if required:
        yield from _hit("missing_value", name, rows, values, ~given.to_numpy())
    if feature is not None and feature.values:
        allowed = pl.Series([value.encode() for value in feature.values])
        yield from _hit("value_not_allowed", name, rows, values, (given & ~text.is_in(allowed)).to_numpy())


def _undecodable(values: pl.Series) -> np.ndarray:
    try:
        values.cast(pl.String)
        return np.zeros(len(values), bool)
    except pl.exceptions.ComputeError:
        return np.array([not _decodes(value) for value in values.to_list()], bool)


def _decodes(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _numbers(name: str, values: pa.Array, rows: np.ndarray, feature: Feature | None) -> Iterator[Hit]:
    given = values.to_numpy(zero_copy_only=False)
    yield from _hit("infinite", name, rows, given, np.isinf(given))
    if feature is None:
        return
    if feature.required:
        yield from _hit("missing_value", name, rows, given, np.isnan(given))
    # The bounds as float32, as the values are.
    if feature.low is not None:
        yield from _hit("number_too_small", name, rows, given, given < np.float32(feature.low))
    if feature.high is not None:
        yield from _hit("number_too_large", name, rows, given, given > np.float32(feature.high))


def _hit(
    rule: str, name: str, rows: np.ndarray, values: pa.Array | np.ndarray, fails: np.ndarray
) -> Iterator[Hit]:
    where = np.flatnonzero(fails)
    if where.size:
        yield Hit(rule, name, rows[where], shown(values[int(where[0])]))


def _lengths(
    rule: str, name: str, lengths: np.ndarray, wanted: np.ndarray, fails: np.ndarray
) -> Iterator[Hit]:
    rows = np.flatnonzero(fails)
    if rows.size:
        yield Hit(rule, name, rows, f"{lengths[rows[0]]} of {wanted[rows[0]]}")


def shown(value: object) -> str:
    """A value as a person reads it, cut to 60 characters."""
    plain = value.as_py() if isinstance(value, pa.Scalar) else value
    if isinstance(plain, bytes):
        text = repr(plain.decode(errors="backslashreplace"))
    else:
        text = f"{plain:.9g}" if isinstance(plain, float | np.floating) else str(plain)
    return text if len(text) <= 60 else f"{text[:57]}..."
