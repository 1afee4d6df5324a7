"""Strings of a raw file to typed events, with a reason for every row that is none.

A row with several faults is reported once, with the first in the order of the columns. Everything is a
polars expression over a block of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rmtl_tf.data.datasets.base import FILE, LINE, Column
from rmtl_tf.data.multivalued import split_values
from rmtl_tf.data.quarantine import quarantine

# Whole seconds after 1970-01-01 and before 2100: 0 stands for "missing", milliseconds lie beyond.
EARLIEST, LATEST = 1, 4_102_444_799
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class _Check:
    reason: str
    column: Column
    fails: pl.Expr


def validate(rows: pl.DataFrame, columns: Sequence[Column], file: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Checks and types one block of rows.

    Args:
        rows: `LINE` and a string column for each header of `columns`; "" where nothing stands.
        file: the number of the file in the run.

    Returns:
        The valid events: `FILE`, `LINE` and a column by the name of each of `columns` (string, float64 or
        int64; null where missing); and the other rows, as `quarantine` gives them.
    """
    checks = [check for column in columns for check in _checks(column)]
    problem = pl.coalesce(pl.when(check.fails).then(i) for i, check in enumerate(checks))
    rows = rows.with_columns(problem.cast(pl.Int32).alias("#problem"), pl.lit(file, pl.Int32).alias(FILE))
    good = rows.filter(pl.col("#problem").is_null()).select(FILE, LINE, *map(_typed, columns))
    bad = rows.filter(pl.col("#problem").is_not_null())
    found = [checks[i] for i in bad["#problem"].unique().sort().to_list()]
    parts = [
        bad.filter(pl.col("#problem") == checks.index(check)).select(
            FILE,
            LINE,
            reason=pl.lit(check.reason),
            column=pl.lit(check.column.source),
            value=pl.col(check.column.source),
        )
        for check in found
    ]
    none = bad.clear().select(FILE, LINE, reason=pl.lit(""), column=pl.lit(""), value=pl.lit(""))
    return good, quarantine(pl.concat([none, *parts]).sort(LINE))


def _checks(column: Column) -> list[_Check]:
    text = pl.col(column.source)
    given = text != ""
    checks = [("missing value", ~given)] if column.required else []
    if column.dtype == "string":
        # Vocabulary files have one value a line.
        checks.append(("control character", text.str.contains(r"[\n\r\x00]")))
        if column.values and column.separator:
            known = (
                split_values(text, column.separator).list.eval(pl.element().is_in(column.values)).list.all()
            )
            checks.append(("value not allowed", given & ~known))
        elif column.values:
            checks.append(("value not allowed", given & ~text.is_in(column.values)))
    elif column.dtype == "label":
        checks.append(("unknown label value", given & ~text.is_in(list(_LABELS))))
    elif column.dtype == "timestamp":
        ticks = _ticks(column)
        checks.append(("not a timestamp", given & ticks.is_null()))
        seconds = ticks.floordiv(column.per_second)
        checks.append(("timestamp out of range", ~seconds.is_between(EARLIEST, LATEST)))
    else:
        number = _number(column)
        low = -_FLOAT32_MAX if column.low is None else column.low
        high = _FLOAT32_MAX if column.high is None else column.high
        checks.append(("not a number", given & number.is_null()))
        checks.append(("number not finite", ~number.is_finite()))
        checks.append(("number out of range", ~number.is_between(low, high)))
    return [_Check(reason, column, fails) for reason, fails in checks]


def _number(column: Column) -> pl.Expr:
    return pl.col(column.source).cast(pl.Float64, strict=False)


def _ticks(column: Column) -> pl.Expr:
    """A whole number, which other tools may have written as 1465413032.0."""
    text = pl.col(column.source)
    return text.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)


def _typed(column: Column) -> pl.Expr:
    text = pl.col(column.source)
    if column.dtype == "string":
        value: pl.Expr = pl.when(text != "").then(text)
    elif column.dtype == "label":
        value = text.replace_strict(_LABELS, default=None, return_dtype=pl.Int64)
    elif column.dtype == "timestamp":
        value = _ticks(column).floordiv(column.per_second)
    else:
        value = _number(column)
    return value.alias(column.name)
