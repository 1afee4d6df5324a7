"""Tables beside the events, of any size: filtered and sorted once, looked up a partition at a time.

A CSV file passes through in batches; its rows go to buckets by their key, and every bucket is sorted and
written as Parquet. So memory holds a batch or a bucket, never a table. A worker reads the rows of the keys
that its events have.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from rmtl_tf.data.csv_header import missing_column, read_header
from rmtl_tf.errors import UserError

_BATCH = 4 << 20  # bytes of a file
_BUCKET = 64 << 20  # bytes of raw files whose rows are sorted together


def write_side_table(
    files: Sequence[Path],
    columns: Sequence[str],
    key: str,
    directory: Path,
    keep: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows,
    *,
    sort: Sequence[str] = (),
    header: Sequence[str] = (),
    batch: int = _BATCH,
    bucket: int = _BUCKET,
) -> None:
    """Writes `directory/*.parquet`: the wanted rows of CSV files, sorted by key, then by `sort`.

    Rows that are equal in all these keep the order of the files.

    Args:
        columns: columns of the files to read, as strings; "" and nothing at all are null.
        key: the column that `read_side_table` looks up; after `keep` it is a string and not null.
        keep: selects and makes columns of a batch of rows.
        header: the names of the columns where the files have no header line.

    Raises:
        UserError: a file lacks a column or cannot be read to its end.
    """
    directory.mkdir(parents=True, exist_ok=True)
    size = sum(file.stat().st_size for file in files)
    buckets = 1 + size // bucket
    with tempfile.TemporaryDirectory(dir=directory) as work:
        writers: dict[int, pq.ParquetWriter] = {}
        try:
            for file in files:
                for rows in _batches(file, columns, header, batch):
                    _scatter(keep(rows).filter(pl.col(key).is_not_null()), key, buckets, writers, Path(work))
        finally:
            for writer in writers.values():
                writer.close()
        for path in sorted(Path(work).iterdir()):
            rows = pl.read_parquet(path).sort(key, *sort, maintain_order=True)
            rows.write_parquet(directory / path.name, compression="lz4", row_group_size=1 << 17)


def read_side_table(directory: Path, keys: pl.Series) -> pl.DataFrame:
    """The rows whose key (the column by the name of `keys`) is one of `keys`; sorted as they were written.

    None where the table has no rows at all: then it has no columns either.
    """
    paths = sorted(directory.glob("*.parquet"))
    wanted = keys.drop_nulls().unique().to_frame().lazy()
    tables = (pl.scan_parquet(path) for path in paths)
    found = [
        table.join(wanted, on=keys.name, how="semi", maintain_order="left").collect() for table in tables
    ]
    return pl.concat(found) if found else pl.DataFrame()


def left_join(
    records: pl.DataFrame, on: str, directory: Path, key: str, columns: Mapping[str, str]
) -> pl.DataFrame:
    """Adds columns of the first row whose `key` is the record's `on`; null where the table has none.

    Args:
        columns: name in the records -> name in the table.
    """
    table = read_side_table(directory, records[on].alias(key))
    if not table.width:
        return records.with_columns(pl.lit(None, pl.String).alias(name) for name in columns)
    table = table.unique(subset=key, keep="first", maintain_order=True)
    table = table.select(
        pl.col(key).alias(on), *(pl.col(column).alias(name) for name, column in columns.items())
    )
    return records.join(table, on=on, how="left", maintain_order="left")


def _scatter(
    rows: pl.DataFrame, key: str, buckets: int, writers: dict[int, pq.ParquetWriter], work: Path
) -> None:
    number = (pl.col(key).hash() % buckets).cast(pl.Int64).alias("#bucket")
    for (name,), part in (
        rows.with_columns(number).partition_by("#bucket", as_dict=True, include_key=False).items()
    ):
        table = part.to_arrow()
        if name not in writers:
            writers[name] = pq.ParquetWriter(work / f"{name:05d}.parquet", table.schema, compression="lz4")
        writers[name].write_table(table)


def _batches(file: Path, columns: Sequence[str], header: Sequence[str], batch: int) -> Iterator[pl.DataFrame]:
    names = list(header) or read_header(file)
    for column in columns:
        if column not in names:
            raise missing_column(file, column, names)
    try:
        # The header was read above: a byte-order mark or quotes in it would change its names here.
        with pyarrow.csv.open_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=batch, column_names=names, skip_rows=0 if header else 1
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.large_string()),
                include_columns=list(columns),
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=True,
            ),
        ) as reader:
            for rows in reader:
                yield pl.DataFrame(pa.Table.from_batches([rows]))
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{file}: cannot be read as CSV to its end ({error}). Is the file complete?"
        ) from None
