"""Session Examples as flat columns of records, for everything that reads raw records: no Beam."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from rmtl_tf.data.datasets.base import label_time
from rmtl_tf.data.multivalued import lengths_name
from rmtl_tf.data.records import FeatureType, read_shard
from rmtl_tf.errors import UserError
from rmtl_tf.features.apply import Column
from rmtl_tf.schema import DataSchema

SESSION_ID = "session_id"
LOOKAHEAD = "lookahead"

_BATCH = 1 << 16


@dataclass(frozen=True)
class Records:
    """Session windows laid end to end.

    Attributes:
        session_id: binary [B].
        lookahead: int64 [B]: 1 where the last record only shows the next state.
        steps: int64 [B], the number of records of each window, look-ahead included; they sum to N.
        columns: [N] values by column name: binary Arrow arrays (lists of them where a feature has several
            values), or int64 or float32 numpy arrays; with `label_time(label)` where the data set gives it.
    """

    session_id: pa.Array
    lookahead: np.ndarray
    steps: np.ndarray
    columns: Mapping[str, Column]

    @property
    def kept(self) -> np.ndarray:
        """bool [N]: False for look-ahead records, which the next window counts."""
        last = np.cumsum(self.steps) - 1
        keep = np.ones(int(self.steps.sum()), bool)
        keep[last[self.lookahead == 1]] = False
        return keep

    def without_lookahead(self) -> dict[str, Column]:
        """The columns without look-ahead records."""
        keep = self.kept
        if keep.all():
            return dict(self.columns)
        mask = pa.array(keep)
        return {
            name: column.filter(mask) if isinstance(column, pa.Array) else column[keep]
            for name, column in self.columns.items()
        }


class SessionReader:
    """Reads shards of session Examples as `Records`; context values are repeated for every record."""

    def __init__(self, schema: DataSchema, feedback: Sequence[str]) -> None:
        types: dict[str, FeatureType] = {schema.timestamp: "int", **dict.fromkeys(schema.labels, "int")}
        for feature in schema.inputs:
            types[feature.name] = "bytes" if feature.kind == "categorical" else "float"
        self._times = {label_time(label) for label in schema.labels}
        self._types = types | dict.fromkeys(feedback, "float") | dict.fromkeys(sorted(self._times), "int")
        self._context = {feature.name for feature in schema.inputs if feature.context}
        self._several = {feature.name for feature in schema.inputs if feature.multivalued}
        self._lengths: dict[str, FeatureType] = dict.fromkeys(map(lengths_name, self._several), "int")
        self._timestamp = schema.timestamp

    def read(self, path: str | Path) -> Iterator[Records]:
        """The records of one shard, in file order.

        Raises:
            UserError: the file is damaged, or a list has not one value per record (per window for a context
                feature), or not as many as its lengths say.
        """
        types = {SESSION_ID: "bytes", LOOKAHEAD: "int", **self._types, **self._lengths}
        for batch in read_shard(Path(path), types, _BATCH):
            yield self._flatten(batch, path)

    def _flatten(self, batch: pa.RecordBatch, path: str | Path) -> Records:
        windows = np.ones(len(batch), np.int64)
        steps = _lengths(batch, self._timestamp)
        index = np.repeat(np.arange(len(batch)), steps)
        columns = {}
        for name in self._types:
            if name in self._times and batch[name].null_count == len(batch):
                continue
            context = name in self._context
            expected = windows if context else steps
            if name in self._several:
                values = _value_lists(batch, name, expected, path)
            else:
                values = _values(batch, name, expected, path)
            columns[name] = _take(values, index) if context else values
        return Records(
            session_id=_values(batch, SESSION_ID, windows, path),
            lookahead=_values(batch, LOOKAHEAD, windows, path),
            steps=steps,
            columns=columns,
        )


def _lengths(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch[name].value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _values(batch: pa.RecordBatch, name: str, expected: np.ndarray, path: str | Path) -> Column:
    lengths = _lengths(batch, name)
    if wrong := np.flatnonzero(lengths != expected).tolist():
        row = wrong[0]
        raise UserError(
            f"{path}: feature {name!r} of the session {batch[SESSION_ID][row].as_py()}: expected "
            f"{expected[row]} values, received {lengths[row]}. Run ExampleGen again with this schema."
        )
    values = batch[name].flatten()
    return values if pa.types.is_large_binary(values.type) else values.to_numpy(zero_copy_only=False)


def _value_lists(batch: pa.RecordBatch, name: str, expected: np.ndarray, path: str | Path) -> pa.Array:
    """The values of each record as a list array."""
    lengths = np.asarray(_values(batch, lengths_name(name), expected, path))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    windows = np.concatenate([[0], np.cumsum(expected)])
    values = _values(batch, name, np.diff(offsets[windows]), path)
    return pa.LargeListArray.from_arrays(pa.array(offsets), values)


def _take(values: Column, index: np.ndarray) -> Column:
    return values.take(pa.array(index)) if isinstance(values, pa.Array) else values[index]
