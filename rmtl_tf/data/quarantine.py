"""Rows that do not become records: where they stand, why, and when there are too many of them.

Two kinds: malformed rows count towards `max_bad_fraction`; excluded rows are right in themselves but no
part of a record (`Reader.to_records`) and are only reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from rmtl_tf.data.datasets.base import FILE, LINE
from rmtl_tf.data.lines import BadLine
from rmtl_tf.errors import UserError

QUARANTINE_FILE = "quarantine.csv"

# FILE is the number of the file in the run.
SCHEMA: dict[str, pl.DataType] = {
    FILE: pl.Int32(),
    LINE: pl.Int64(),
    "reason": pl.String(),
    "column": pl.String(),
    "value": pl.String(),
    "excluded": pl.Boolean(),
}
# The beginning of a reason -> what to do about many of them.
_ADVICE = {
    "timestamp looks like": (
        "Times are in another unit than expected: where the schema says the unit (annotation tag unit:s, "
        "unit:ms, unit:us or unit:ns), correct it; else convert the column."
    ),
    "not a timestamp": "Timestamps are whole numbers since 1970 (UTC): convert dates, round fractions.",
    "invalid UTF-8": "Text is UTF-8: convert the file, for example iconv -f ISO-8859-1 -t UTF-8.",
    "line too long": "Such lines are no rows: is the file text, with a line break after each row?",
}
_LONGEST = 200  # characters of a value
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\x00": "\\0"}


def quarantine(rows: pl.DataFrame, excluded: bool = False) -> pl.DataFrame:
    """Rows with `FILE`, `LINE`, `reason`, `column`, `value` as `SCHEMA` says; values are cut and escaped."""
    value = pl.col("value").str.slice(0, _LONGEST).str.replace_many(list(_ESCAPES), list(_ESCAPES.values()))
    rows = rows.with_columns(value=value, excluded=pl.lit(excluded))
    return rows.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())


def bad_lines(lines: Sequence[BadLine], file: int) -> pl.DataFrame:
    """Lines that could not be read as a row."""
    columns = {
        FILE: [file] * len(lines),
        LINE: [bad.line for bad in lines],
        "reason": [bad.reason for bad in lines],
        "column": [bad.column for bad in lines],
        "value": [bad.value for bad in lines],
    }
    return quarantine(pl.DataFrame(columns, schema={name: SCHEMA[name] for name in columns}))


def count_reasons(quarantined: pl.DataFrame) -> dict[str, int]:
    """Rows by reason, the most frequent first."""
    counts = quarantined.group_by("reason").len().sort("len", "reason", descending=[True, False])
    return dict(counts.iter_rows())


def write_quarantine(quarantined: pl.DataFrame, files: Sequence[str], path: Path) -> None:
    """Writes `file,line,reason,column,value`, in the order of file and line."""
    ordered = quarantined.sort(FILE, LINE)
    names = pl.Series("file", files, dtype=pl.String).gather(ordered[FILE])
    ordered.select(names, pl.col(LINE).alias("line"), "reason", "column", "value").write_csv(path)


def check_bad_fraction(
    quarantined: pl.DataFrame, rows: int, limit: float, files: Sequence[str], path: Path
) -> None:
    """Stops where more than `limit` of `rows` are malformed; `path` is the quarantine file, already written.

    Raises:
        UserError: with the counts by reason and the first five rows; it keeps `path`.
    """
    malformed = quarantined.filter(~pl.col("excluded"))
    if malformed.height <= limit * rows:
        return
    share = malformed.height / rows
    counts = "\n".join(f"  {count:>9,}  {reason}" for reason, count in count_reasons(malformed).items())
    first = "\n".join(
        _sentence(row, files) for row in malformed.sort(FILE, LINE).head(5).iter_rows(named=True)
    )
    raise UserError(
        f"raw logs: {malformed.height:,} of {rows:,} rows are bad ({share:.2%}), more than "
        f"data.max_bad_fraction allows ({limit:.2%}).\n{counts}\nThe first of them:\n{first}\n"
        f"{_advice(malformed)}All are in {path.name}. Mend the logs or the schema, or allow more: "
        f"--set data.max_bad_fraction={math.ceil(share * 1000) / 1000}.",
        keep=(path,),
    )


def _advice(malformed: pl.DataFrame) -> str:
    reasons = count_reasons(malformed)
    found = (text for start, text in _ADVICE.items() if any(reason.startswith(start) for reason in reasons))
    return "".join(f"{text}\n" for text in found)


def _sentence(row: dict, files: Sequence[str]) -> str:
    column = f", column {row['column']}" if row["column"] else ""
    return f"  {files[row[FILE]]}, line {row[LINE]}: {row['reason']}{column}, value {row['value']!r}"
