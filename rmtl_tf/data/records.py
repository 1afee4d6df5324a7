"""Session Examples on disk: Arrow record batches to sharded TFRecord files and back.

A column of a batch is a list per session window: bytes, int64 or float32. `example_proto` turns columns into
serialized `tf.train.Example`s and `example_columns` turns them back; tfx-bsl reads Examples of other forms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from rmtl_tf.data import kernels
from rmtl_tf.data.example_columns import columns
from rmtl_tf.data.example_proto import serialize
from rmtl_tf.errors import UserError

FeatureType = Literal["bytes", "int", "float"]

_READ_BYTES = 16 << 20
_SHORTEST = kernels.HEADER_BYTES + kernels.CHECKSUM_BYTES  # TFRecord
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
    out, bounds = serialize(batch, before=kernels.HEADER_BYTES, after=kernels.CHECKSUM_BYTES)
    kernels.frame(out, bounds)
    return out


def read_record_batches(
    split_dir: Path, schema_features: Mapping[str, FeatureType], batch_size: int = 1 << 16
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
    paths = sorted(split_dir.glob("data-*.tfrecord"))
    if not paths:
        raise UserError(
            f"{split_dir}: expected session Examples (data-*.tfrecord), found none. Rerun ExampleGen."
        )
    for path in paths:
        yield from read_shard(path, schema_features, batch_size)


def read_shard(
    path: Path, schema_features: Mapping[str, FeatureType], batch_size: int = 1 << 16
) -> Iterator[pa.RecordBatch]:
    """Reads one file as `read_record_batches` reads all of a split; a batch is of some 16 MB at most.

    Raises:
        UserError: the file is damaged.
    """
    decoder = None
    for data, bounds in _frames(path, batch_size):
        batch = columns(data, bounds, schema_features)
        if batch is None:
            decoder = decoder or _decoder(schema_features)
            batch = decoder.DecodeBatch([data[begin:end].tobytes() for begin, end in bounds.tolist()])
        yield batch


def read_examples(path: Path) -> Iterator[bytes]:
    """The serialized Examples of one TFRecord file, checked against their checksums.

    Raises:
        UserError: the file is cut short or a checksum does not fit; the message gives the byte.
    """
    for data, bounds in _frames(path, 4096):
        for begin, end in bounds.tolist():
            yield data[begin:end].tobytes()


def _decoder(types: Mapping[str, FeatureType]) -> Any:
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.coders import example_coder

    proto = schema_pb2.Schema()
    for name, kind in types.items():
        proto.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind.upper()))
    return example_coder.ExamplesToRecordBatchDecoder(proto.SerializeToString())


def batch_of(lists: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """A record batch with the lists that the encoder takes: large_list of large_binary, int64, float32."""
    arrays = {}
    for name, column in lists.items():
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            raise TypeError(f"column {name!r}: expected lists, received {column.type}")
        arrays[name] = column.cast(pa.large_list(_value_type(column.type.value_type)))
    return pa.record_batch(arrays)


def _value_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(kind):
        return _ARROW["int"]
    return _ARROW["float"] if pa.types.is_floating(kind) else _ARROW["bytes"]


def _frames(path: Path, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Consecutive records of a TFRecord file: their bytes, and the bounds [B, 2] of the Examples in them."""
    position, size = 0, _READ_BYTES
    with path.open("rb") as stream:
        while content := stream.read(size):
            data = np.frombuffer(content, np.uint8)
            bounds = np.empty((data.size // _SHORTEST + 1, 2), np.int64)
            count, used, damaged = kernels.find_records(data, bounds)
            if damaged or (not count and data.size < size):
                raise _damaged(path, position + used)
            for first in range(0, count, most):
                yield data, bounds[first : min(first + most, count)]
            position, size = position + used, size if count else 2 * size
            stream.seek(position)


def _damaged(path: Path, position: int) -> UserError:
    return UserError(
        f"{path}: damaged TFRecord at byte {position} (cut short, or its checksum does not fit). "
        "Delete the directory of this step and run again."
    )
