"""Tables on their way from one Beam step to another, as Arrow files in a work folder.

A runner's own shuffle would hold (or send) every row; here Beam groups only `Piece`s, a few bytes each that
say where rows are. A worker writes all that it has for all partitions as one file, with one record batch for
each partition, and the worker of a partition reads its batch of every file: memory is that of one partition.
The folder is any that Beam's file systems know and all workers see.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from rmtl_tf.compiled import binary_buffers
from rmtl_tf.data import kernels

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


class Piece(NamedTuple):
    """Rows in a work folder.

    Attributes:
        order: pieces of a partition are put in this order.
        path: the file.
        batch: the number of the record batch in it.
    """

    order: tuple[int, ...]
    path: str
    batch: int


def partition_numbers(keys: pl.Series, partitions: int) -> np.ndarray:
    """The partition of each key, int64 [N]: the same for a key everywhere.

    It is CRC-32 of the key's UTF-8 bytes (or bytes) modulo `partitions`: unlike polars' hash it will not
    change with a version.
    """
    values = keys.cast(pl.Binary).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_binary())
    numbers = np.empty(len(keys), np.int64)
    kernels.partition_numbers(*binary_buffers(values), partitions, numbers)
    return numbers


def parts_of(values: pl.Series, parts: int) -> np.ndarray:
    """The part of each value, int64 [N], where it does not matter which: fast, and equal on all workers."""
    return (values.hash(seed=0) % parts).cast(pl.Int64).to_numpy()


def spill(
    rows: pl.DataFrame, partition: np.ndarray, path: str, order: tuple[int, ...]
) -> Iterator[tuple[int, Piece]]:
    """Writes rows to the file `path`; yields (partition, piece) for every partition that has some.

    Args:
        partition: int [N], the partition of each row.
    """
    if not rows.height:
        return
    place = np.argsort(partition, kind="stable")
    table = _to_arrow(rows[place])
    numbers, first = np.unique(partition[place], return_index=True)
    past = [*first[1:].tolist(), rows.height]
    with _writer(path, table.schema) as writer:
        for begin, end in zip(first.tolist(), past, strict=True):
            writer.write_table(table.slice(begin, end - begin), max_chunksize=rows.height)
    for batch, number in enumerate(numbers.tolist()):
        yield number, Piece(order, path, batch)


def gather(pieces: Iterable[Piece]) -> pl.DataFrame:
    """The rows of pieces (at least one), in their order."""
    batches = []
    for piece in sorted(pieces):
        with _reader(piece.path) as reader:
            batches.append(reader.get_batch(piece.batch))
    return _to_polars(pa.Table.from_batches(batches))


def write_frame(frame: pl.DataFrame, path: str) -> str:
    """Writes a whole frame to a file of the work folder; returns its path."""
    table = _to_arrow(frame)
    with _writer(path, table.schema) as writer:
        writer.write_table(table)
    return path


def read_frame(path: str, columns: list[str] | None = None) -> pl.DataFrame:
    """A whole frame, or some of its columns."""
    with _reader(path, columns) as reader:
        return _to_polars(reader.read_all())


def pack(frame: pl.DataFrame) -> bytes:
    """A small frame as an element of its own."""
    stream = io.BytesIO()
    frame.write_ipc(stream, compression="lz4")
    return stream.getvalue()


def unpack(data: bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(data))


def exists(path: str) -> bool:
    return FileSystems.exists(path)


def remove(folder: str) -> None:
    """Removes a work folder, if it is there."""
    with contextlib.suppress(OSError, ValueError):
        FileSystems.delete([folder])


@contextlib.contextmanager
def _writer(path: str, schema: pa.Schema) -> Iterator[Any]:
    with (
        contextlib.closing(
            FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)
        ) as stream,
        pa.ipc.new_file(stream, schema, options=_OPTIONS) as writer,
    ):
        yield writer


@contextlib.contextmanager
def _reader(path: str, columns: list[str] | None = None) -> Iterator[Any]:
    if os.path.exists(path):
        source: Any = pa.memory_map(path)
    else:
        source = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    with contextlib.closing(source):
        reader = pa.ipc.open_file(source)
        if columns is not None:
            included = [reader.schema.get_field_index(name) for name in columns]
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=included))
        yield reader


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()


def _to_polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
