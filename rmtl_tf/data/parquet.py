"""Parquet files as blocks of rows; a row's "line" is its number in the file, from 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from rmtl_tf.data.datasets.base import LINE
from rmtl_tf.data.lines import Block
from rmtl_tf.errors import UserError

_ROWS = 1 << 17


def is_parquet(path: Path) -> bool:
    return path.suffix == ".parquet"


def read_names(path: Path) -> list[str]:
    """The column names.

    Raises:
        UserError: the file cannot be read, or is no Parquet file.
    """
    return list(_open(path).schema_arrow.names)


def row_groups(path: Path) -> list[int]:
    """The number of rows of each row group."""
    metadata = _open(path).metadata
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def read_blocks(path: Path, columns: Sequence[str], begin: int, end: int, row: int) -> Iterator[Block]:
    """The rows of the row groups from `begin` up to before `end`; the first is number `row`.

    The columns have the types of the file, null where nothing stands. Values of a dictionary are spelt out.

    Raises:
        UserError: the file is damaged, or a wanted column holds something else than texts, numbers, times or
            truth values.
    """
    file = _open(path)
    try:
        for batch in file.iter_batches(_ROWS, range(begin, end), list(columns), use_threads=False):
            frame = pl.from_arrow(pa.Table.from_batches([batch]).select(list(columns)))
            assert isinstance(frame, pl.DataFrame)
            frame = frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
            _check_types(path, frame)
            numbers = pl.int_range(row, row + frame.height, dtype=pl.Int64, eager=True)
            row += frame.height
            yield Block(frame.with_columns(numbers.alias(LINE)), [])
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read to its end ({error}). Is the file complete?") from None


def _check_types(path: Path, frame: pl.DataFrame) -> None:
    for name, dtype in frame.schema.items():
        known = dtype in (pl.String, pl.Boolean, pl.Date, pl.Null) or isinstance(dtype, pl.Datetime)
        if not (known or dtype.is_numeric()):
            raise UserError(
                f'{path}: column "{name}" is {dtype}; expected texts, numbers, times or truth values. '
                "Write it as one of these."
            )


def _open(path: Path):
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error}).") from None
