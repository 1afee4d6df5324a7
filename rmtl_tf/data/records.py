"""Session Examples on disk: Arrow record batches to sharded TFRecord files and back.

A column of a batch is a list per session window: bytes, int64 or float32. `example_proto` turns columns into
serialized `tf.train.Example`s, tfx-bsl turns them back.
"""

from __future__ import annotations

import itertools
import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np
import pyarrow as pa

from rmtl_tf.data.example_proto import serialize
from rmtl_tf.data.segments import windows
from rmtl_tf.errors import UserError

FeatureType = Literal["bytes", "int", "float"]

_CHECKSUM_BYTES = 4
_ARROW: dict[str, pa.DataType] = {"bytes": pa.large_binary(), "int": pa.int64(), "float": pa.float32()}


def shard_path(split_dir: Path, shard: int, shards: int) -> Path:
    """`data-0000i-of-0000P.tfrecord`: the file of one partition in the directory of a split."""
    return split_dir / f"data-{shard:05d}-of-{shards:05d}.tfrecord"


def encode_examples(batch: pa.RecordBatch) -> list[bytes]:
    """Serializes every row of `batch` (list columns) as a `tf.train.Example`.

    A null list gives a feature without values. Features stand in name order: the bytes depend on nothing
    but the values.
    """
    out, bounds = serialize(batch)
    data = out.tobytes()
    return [data[begin:end] for begin, end in bounds.tolist()]


def write_record_batches(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes the rows of `batches` (list columns, one row per session window) to one TFRecord file.

    Returns:
        The number of Examples written. The file stands there even when it holds none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("wb") as stream:
        for batch in batches:
            stream.write(_framed(batch).data)
            written += len(batch)
    return written


def _framed(batch: pa.RecordBatch) -> np.ndarray:
    """TFRecords of all rows: length and its masked CRC-32C, the Example, its masked CRC-32C."""
    out, bounds = serialize(batch, before=_length, after=_CHECKSUM_BYTES)
    data = out.tobytes()
    checksums = np.array([google_crc32c.value(data[begin:end]) for begin, end in bounds.tolist()], np.uint64)
    windows(out, _CHECKSUM_BYTES)[bounds[:, 1]] = _masked(checksums).astype("<u4").view("V4")
    return out


def read_record_batches(
    split_dir: Path, schema_features: Mapping[str, FeatureType], batch_size: int = 4096
) -> Iterator[pa.RecordBatch]:
    """Reads the session Examples of one split, shard after shard in file order.

    Args:
        split_dir: a `Split-<name>` directory holding `data-*.tfrecord`.
        schema_features: the features to read and their types: `bytes`, `int` or `float`.
        batch_size: Examples in one record batch.

    Yields:
        Record batches of at most `batch_size` rows with exactly these columns, in this order:
        large_list of large_binary, int64 or float32. A feature an Example does not have is null.

    Raises:
        UserError: the directory holds no such file, or a file is damaged.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.coders import example_coder

    paths = sorted(split_dir.glob("data-*.tfrecord"))
    if not paths:
        raise UserError(
            f"{split_dir}: expected session Examples (data-*.tfrecord), found none. Rerun ExampleGen."
        )
    proto = schema_pb2.Schema()
    for name, kind in schema_features.items():
        proto.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind.upper()))
    decoder = example_coder.ExamplesToRecordBatchDecoder(proto.SerializeToString())
    examples = itertools.chain.from_iterable(map(read_examples, paths))
    while chunk := list(itertools.islice(examples, batch_size)):
        yield decoder.DecodeBatch(chunk)


def read_examples(path: Path) -> Iterator[bytes]:
    """The serialized Examples of one TFRecord file, checked against their checksums.

    Raises:
        UserError: the file is cut short or a checksum does not fit; the message gives the byte.
    """
    with path.open("rb") as stream:
        if stream.seek(0, 2) == 0:
            return
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield from _records(data, path)


def batch_of(columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """A record batch with the lists that the encoder takes: large_list of large_binary, int64, float32."""
    arrays = {}
    for name, column in columns.items():
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            raise TypeError(f"column {name!r}: expected lists, received {column.type}")
        arrays[name] = column.cast(pa.large_list(_value_type(column.type.value_type)))
    return pa.record_batch(arrays)


def _value_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(kind):
        return _ARROW["int"]
    return _ARROW["float"] if pa.types.is_floating(kind) else _ARROW["bytes"]


def _records(data: mmap.mmap, path: Path) -> Iterator[bytes]:
    position, size = 0, len(data)
    while position < size:
        header = data[position : position + 12]
        if len(header) < 12 or header[8:] != _checksum(header[:8]):
            raise _damaged(path, position)
        end = position + 12 + int(struct.unpack("<Q", header[:8])[0])
        example = data[position + 12 : end]
        if data[end : end + 4] != _checksum(example):
            raise _damaged(path, position)
        yield example
        position = end + 4


def _damaged(path: Path, position: int) -> UserError:
    return UserError(
        f"{path}: damaged TFRecord at byte {position} (cut short, or its checksum does not fit). "
        "Delete the directory of this step and run again."
    )


@lru_cache(maxsize=4096)
def _length(size: int) -> bytes:
    data = struct.pack("<Q", size)
    return data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    return _masked(google_crc32c.value(data)).to_bytes(4, "little")


def _masked(crc: Any) -> Any:
    """The form in which TFRecords hold a CRC-32C: an int, or uint64 [N]."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
