"""Values of a raw file to typed events, with a reason for every row that is none.

A row with several faults is reported once, with the first in the order of the columns. Everything is a
polars expression over a block of rows. Most rows are in plain form: they are typed and checked together in
one go; only the others are looked at as strings, reason by reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rmtl_tf.data.datasets.base import FILE, LINE, Column
from rmtl_tf.data.multivalued import split_values
from rmtl_tf.data.quarantine import quarantine
from rmtl_tf.data.time_units import BEFORE, NAMES, SINCE

# Whole seconds after 1970-01-01 and before 2100: 0 stands for "missing".
EARLIEST, LATEST = 1, BEFORE - 1
# A reason: the number of ticks is a time of our days in another unit than the column's.
LOOKS_LIKE = "timestamp looks like"
_WHOLE = r"^[+-]?\d+(\.0+)?$"
_CONTROL = r"[\n\r\x00]"
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
        rows: `LINE` and a column for each header of `columns`: strings, "" where nothing stands; or, from a
            file that has types, numbers, times and truth values, null where nothing stands.
        file: the number of the file in the run.

    Returns:
        The valid events: `FILE`, `LINE` and a column by the name of each of `columns` (string, float64 or
        int64; null where missing); and the other rows, as `quarantine` gives them.
    """
    number = pl.lit(file, pl.Int32).alias(FILE)
    typed = rows.select(number, LINE, *(_plain_value(c, rows.schema[c.source]) for c in columns))
    plain = typed.select(
        pl.all_horizontal(_is_plain(column, rows[column.source]) for column in columns).alias("plain")
    )["plain"].fill_null(False)
    if plain.all():
        return typed, quarantine(_no_faults(typed))
    texts = [_text(column, rows.schema[column.source]).alias(column.source) for column in columns]
    good, bad = _by_reason(rows.filter(~plain).select(number, LINE, *texts), columns)
    return pl.concat([typed.filter(plain), good]).sort(LINE), quarantine(bad)


def _by_reason(rows: pl.DataFrame, columns: Sequence[Column]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of strings -> those that are valid after all, typed, and the faults of the others."""
    checks = [check for column in columns for check in _checks(column)]
    problem = pl.coalesce(pl.when(check.fails).then(i) for i, check in enumerate(checks))
    rows = rows.with_columns(problem.cast(pl.Int32).alias("#problem"))
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
    return good, pl.concat([_no_faults(bad), *parts]).sort(LINE)


def _no_faults(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.clear().select(FILE, LINE, reason=pl.lit(""), column=pl.lit(""), value=pl.lit(""))


def _plain_value(column: Column, dtype: pl.DataType) -> pl.Expr:
    """The typed value of a value in plain form; anything, or null, for others."""
    value = pl.col(column.source)
    if column.dtype == "string":
        text = _text(column, dtype)
        value = pl.when(text != "").then(text)
    elif column.dtype == "timestamp":
        value = _whole_ticks(column, dtype).cast(pl.Int64, strict=False).floordiv(column.per_second)
    else:
        value = value.cast(pl.Int64 if column.dtype == "label" else pl.Float64, strict=False)
    return value.alias(column.name)


def _is_plain(column: Column, raw: pl.Series) -> pl.Expr:
    """Whether the plain value is what the raw value says, and has no fault; null counts as False."""
    value, plain = pl.col(column.name), pl.lit(not raw.dtype.is_float())
    if column.dtype == "string":
        plain = ~value.str.contains(_CONTROL)
        if column.values and column.separator:
            plain &= _known_values(value, column)
        elif column.values:
            plain &= value.is_in(column.values)
    elif column.dtype == "timestamp":
        plain &= value.is_between(EARLIEST, LATEST)
        for unit in NAMES:
            if unit < column.per_second:
                factor = column.per_second // unit
                plain &= ~value.is_between(SINCE // factor, BEFORE // factor)
    elif column.dtype == "label":
        plain &= pl.lit(raw.is_in(["0", "1"])) if raw.dtype == pl.String else value.is_in([0, 1])
    else:
        plain = value.is_finite() & value.is_between(*_bounds(column))
    if column.required:
        return plain
    return plain | pl.lit(raw.is_null() | (raw == "") if raw.dtype == pl.String else raw.is_null())


def _text(column: Column, dtype: pl.DataType) -> pl.Expr:
    """A raw value as it would stand in a CSV file."""
    if dtype == pl.String:
        return pl.col(column.source)
    value = _whole_ticks(column, dtype)
    value = value.cast(pl.Int8) if dtype == pl.Boolean else value
    return value.cast(pl.String).fill_null("")


def _whole_ticks(column: Column, dtype: pl.DataType) -> pl.Expr:
    """A time of a file that has types, in the ticks of the column; any other value as it is."""
    value = pl.col(column.source)
    if not isinstance(dtype, pl.Datetime | pl.Date):
        return value
    return (value.cast(pl.Datetime("us")).dt.timestamp("us") * column.per_second).floordiv(1_000_000)


def _checks(column: Column) -> list[_Check]:
    text = pl.col(column.source)
    given = text != ""
    checks = [("missing value", ~given)] if column.required else []
    if column.dtype == "string":
        # Vocabulary files have one value a line.
        checks.append(("control character", text.str.contains(_CONTROL)))
        if column.values and column.separator:
            checks.append(("value not allowed", given & ~_known_values(text, column)))
        elif column.values:
            checks.append(("value not allowed", given & ~text.is_in(column.values)))
    elif column.dtype == "label":
        checks.append(("unknown label value", given & ~text.is_in(list(_LABELS))))
    elif column.dtype == "timestamp":
        ticks = _ticks(column)
        checks.append(("not a timestamp", given & ~text.str.contains(_WHOLE) & ticks.is_null()))
        for unit, name in NAMES.items():
            if unit != column.per_second:
                other = ticks.ge(SINCE * unit) & ticks.lt(BEFORE * unit)
                checks.append((f"{LOOKS_LIKE} {name}", other))
        seconds = ticks.floordiv(column.per_second)
        outside = given & (ticks.is_null() | ~seconds.is_between(EARLIEST, LATEST))
        checks.append(("timestamp out of range", outside))
    else:
        number = _number(column)
        checks.append(("not a number", given & number.is_null()))
        checks.append(("number not finite", ~number.is_finite()))
        checks.append(("number out of range", ~number.is_between(*_bounds(column))))
    return [_Check(reason, column, fails) for reason, fails in checks]


def _known_values(text: pl.Expr, column: Column) -> pl.Expr:
    """Whether all of several values are allowed."""
    return split_values(text, column.separator).list.eval(pl.element().is_in(column.values)).list.all()


def _bounds(column: Column) -> tuple[float, float]:
    low = -_FLOAT32_MAX if column.low is None else column.low
    return low, _FLOAT32_MAX if column.high is None else column.high


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
