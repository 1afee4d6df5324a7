"""Session Examples on disk: Arrow record batches to sharded TFRecord files and back.

A column of a batch is a list per session window: bytes, int64 or float32. `example_proto` turns columns into
serialized `tf.train.Example`s and `example_columns` turns them back; tfx-bsl reads Examples of other forms.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np
import pyarrow as pa

from rmtl_tf.data.example_columns import columns
from rmtl_tf.data.example_proto import serialize
from rmtl_tf.data.segments import windows
from rmtl_tf.errors import UserError

FeatureType = Literal["bytes", "int", "float"]

_LENGTH = struct.Struct("<Q")
_HEADER_BYTES = 12  # a length and its checksum
_CHECKSUM_BYTES = 4
_READ_BYTES = 16 << 20
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
    checksums = _checksums(out.tobytes(), bounds).astype("<u4")
    windows(out, _CHECKSUM_BYTES)[bounds[:, 1]] = checksums.view("V4")
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
    with path.open("rb") as stream:
        position = 0
        while data := stream.read(_READ_BYTES):
            bounds, used = _complete_records(data, path, position)
            while not len(bounds):
                more = stream.read(_READ_BYTES)
                if not more:
                    raise _damaged(path, position)
                data += more
                bounds, used = _complete_records(data, path, position)
            stream.seek(position + used)
            for first in range(0, len(bounds), most):
                yield np.frombuffer(data, np.uint8), bounds[first : first + most]
            position += used


def _complete_records(data: bytes, path: Path, position: int) -> tuple[np.ndarray, int]:
    """Bounds [B, 2] of the Examples whose records end in `data`, and bytes used; it begins at `position`."""
    starts, ends, at, last = [], [], 0, len(data) - _HEADER_BYTES
    while at <= last:
        end = at + _HEADER_BYTES + _LENGTH.unpack_from(data, at)[0]
        if end + _CHECKSUM_BYTES > len(data):
            if data[at : at + _HEADER_BYTES] != _length(end - at - _HEADER_BYTES):
                raise _damaged(path, position + at)
            break
        starts.append(at)
        ends.append(end)
        at = end + _CHECKSUM_BYTES
    begin = np.array(starts, np.int64)
    bounds = np.stack([begin + _HEADER_BYTES, np.array(ends, np.int64)], axis=1)
    damaged = _wrong_checksums(data, bounds)
    if damaged.size:
        raise _damaged(path, position + starts[damaged[0]])
    return bounds, at


def _wrong_checksums(data: bytes, bounds: np.ndarray) -> np.ndarray:
    """Which records have another checksum of their length or of their Example than they should."""
    content = np.frombuffer(data, np.uint8)
    sizes, place = np.unique(bounds[:, 1] - bounds[:, 0], return_inverse=True)
    headers = np.frombuffer(b"".join(map(_length, sizes.tolist())), f"V{_HEADER_BYTES}")
    found = windows(content, _HEADER_BYTES)[bounds[:, 0] - _HEADER_BYTES]
    checksums = windows(content, _CHECKSUM_BYTES)[bounds[:, 1]].view("<u4")
    return np.flatnonzero((found != headers[place]) | (checksums != _checksums(data, bounds)))


def _checksums(data: bytes, bounds: np.ndarray) -> np.ndarray:
    """The masked CRC-32C of data[begin:end] for all bounds [B, 2]."""
    # Two lists of numbers: a list of pairs would keep Python's garbage collector busy.
    ends = zip(*bounds.T.tolist(), strict=True)
    return _masked(np.array([google_crc32c.value(data[begin:end]) for begin, end in ends], np.uint64))


def _damaged(path: Path, position: int) -> UserError:
    return UserError(
        f"{path}: damaged TFRecord at byte {position} (cut short, or its checksum does not fit). "
        "Delete the directory of this step and run again."
    )


@lru_cache(maxsize=1 << 14)
def _length(size: int) -> bytes:
    data = _LENGTH.pack(size)
    return data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    return _masked(google_crc32c.value(data)).to_bytes(4, "little")


def _masked(crc: Any) -> Any:
    """The form in which TFRecords hold a CRC-32C: an int, or uint64 [N]."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
