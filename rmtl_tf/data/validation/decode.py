"""Serialized Examples to Arrow batches without a schema: types are those of the data, and are checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from rmtl_tf.data.records import FeatureType, read_examples
from rmtl_tf.data.validation.anomaly import DATASET, Hit
from rmtl_tf.data.validation.contract import ExpectedColumn

BATCH = 4096
_ARROW: dict[FeatureType, pa.DataType] = {
    "bytes": pa.large_binary(), "int": pa.int64(), "float": pa.float32(),
}  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Some Examples of a file, one after the other.

    Attributes:
        columns: large lists of the expected type [B] by name; a column no Example has is absent, and an
            Example that has it not, or of another type, is null.
        first_row: the number of the first one in the file.
        repeated: how many of the first Examples were the last of the batch before; they only show what
            comes after them.
    """

    columns: dict[str, pa.Array]
    size: int
    first_row: int
    repeated: int

    def own(self) -> Batch:
        """The batch without its repeated Examples."""
        columns = {name: column.slice(self.repeated) for name, column in self.columns.items()}
        return Batch(columns, self.size - self.repeated, self.first_row + self.repeated, 0)

    def lengths(self, name: str) -> np.ndarray:
        """Values of a column in every Example, int64 [B]; 0 where it is not there."""
        if name not in self.columns:
            return np.zeros(self.size, np.int64)
        return self.columns[name].value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)

    def values(self, name: str) -> tuple[pa.Array, np.ndarray]:
        """All values of a column, end to end [V], and the Example each is in, int64 [V]."""
        return self.columns[name].flatten(), np.repeat(np.arange(self.size), self.lengths(name))


def first_values(batch: Batch, name: str) -> pa.Array:
    """The first value of a column in every Example [B]; null where there is none."""
    lengths = batch.lengths(name)
    return batch.columns[name].flatten().take(pa.array(np.cumsum(lengths) - lengths, mask=lengths == 0))


def read_batches(path: Path, columns: Sequence[ExpectedColumn]) -> Iterator[tuple[Batch, list[Hit]]]:
    """The Examples of a TFRecord file, and where in `Batch.own` types are wrong or features are new.

    Raises:
        UserError: the file is damaged.
    """
    types = {column.name: _ARROW[column.type] for column in columns}
    examples = read_examples(path)
    last: list[bytes] = []
    row = 0
    while chunk := list(itertools.islice(examples, BATCH)):
        found, hits = decode([*last, *chunk], types)
        shifted = [replace(hit, rows=hit.rows[hit.rows >= len(last)] - len(last)) for hit in hits]
        batch = Batch(found, len(last) + len(chunk), row - len(last), len(last))
        yield batch, [hit for hit in shifted if hit.rows.size]
        row += len(chunk)
        last = chunk[-1:]


def names_of(example: bytes) -> set[str]:
    """The features of one serialized Example."""
    from tfx_bsl.coders import example_coder

    return set(example_coder.ExamplesToRecordBatchDecoder().DecodeBatch([example]).schema.names)


def decode(examples: Sequence[bytes], types: dict[str, pa.DataType]) -> tuple[dict[str, pa.Array], list[Hit]]:
    """Columns of the expected types, and hits of `type` and `new_feature`."""
    from tfx_bsl.coders import example_coder

    decoder = example_coder.ExamplesToRecordBatchDecoder()
    try:
        parts = [(np.arange(len(examples)), decoder.DecodeBatch(list(examples)))]
    except RuntimeError:
        # Not all have the same types: then each alone, so that the wrong ones can be named.
        parts, hits = [], []
        for row, example in enumerate(examples):
            try:
                parts.append((np.array([row]), decoder.DecodeBatch([example])))
            except RuntimeError:
                hits.append(Hit("type", DATASET, np.array([row]), "no tf.train.Example"))
        return _join(parts, types, len(examples), hits)
    return _join(parts, types, len(examples), [])


def _join(
    parts: list[tuple[np.ndarray, pa.RecordBatch]], types: dict[str, pa.DataType], size: int, hits: list[Hit]
) -> tuple[dict[str, pa.Array], list[Hit]]:
    pieces: dict[str, list[tuple[np.ndarray, pa.Array]]] = {}
    for rows, batch in parts:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            there = rows[column.is_valid().to_numpy(zero_copy_only=False)]
            if name not in types:
                if there.size:
                    hits.append(Hit("new_feature", name, there))
            elif column.type.value_type == types[name]:
                pieces.setdefault(name, []).append((rows, column))
            else:
                filled = rows[column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) > 0]
                if filled.size:
                    hits.append(Hit("type", name, filled, str(column.type.value_type)))
    columns = {}
    for name, found in pieces.items():
        if len(found) == 1 and found[0][0].size == size:
            columns[name] = found[0][1]
            continue
        place = np.full(size, -1)
        place[np.concatenate([rows for rows, _ in found])] = np.arange(sum(rows.size for rows, _ in found))
        index = pa.array(place, mask=place < 0)
        columns[name] = pa.concat_arrays([column for _, column in found]).take(index)
    return columns, hits
