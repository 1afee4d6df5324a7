"""Checkpoints that resume training to the same bits.

`tf.train.Checkpoint` of a Keras 3 model leaves out the states of its seed generators, so dropout
would not continue where it was; here the caller lists every variable, and the order is the identity.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_META = "meta"
# Reading or assigning a variable copies it whole, and TensorFlow's allocator keeps what it took for that; so
# tables are read and assigned so many bytes at a time.
_PIECE = 64 << 20


def save_checkpoint(path: Path, groups: Mapping[str, Sequence[Any]], meta: Mapping[str, Any]) -> None:
    """Writes groups of variables or arrays, and JSON-able `meta`, so that a reader sees all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    with aside.open("wb") as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for group, values in groups.items():
                for number, value in enumerate(values):
                    _write(archive, f"{group}/{number}", value)
            _write(archive, _META, np.array(json.dumps(meta)))
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


def _write(archive: zipfile.ZipFile, name: str, value: Any) -> None:
    """One member as `numpy.savez` writes it, which would hold all arrays at once."""
    entry = zipfile.ZipInfo(f"{name}.npy")  # of a fixed time
    with archive.open(entry, "w", force_zip64=True) as stream:
        table = _large(value)
        if table is None:
            np.lib.format.write_array(stream, _view(value), allow_pickle=False)
            return
        header = {"descr": np.dtype(table.dtype.as_numpy_dtype).str, "fortran_order": False}
        np.lib.format.write_array_header_1_0(stream, {**header, "shape": tuple(table.shape)})
        for rows in _pieces(table):
            stream.write(_read(table, rows).data)


class _Stored(Sequence[np.ndarray]):
    """A group of a checkpoint; each array is read when it is asked for, as all at once may not fit."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self._path, self._names = path, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, place: Any) -> Any:
        with np.load(self._path, allow_pickle=False) as stored:
            return stored[self._names[place]]


def load_checkpoint(path: Path) -> tuple[dict[str, Sequence[np.ndarray]], dict[str, Any]] | None:
    """The groups and meta of a checkpoint, or None where there is none."""
    if not path.exists():
        return None
    names: dict[str, list[str]] = {}
    with np.load(path, allow_pickle=False) as stored:
        meta = json.loads(str(stored[_META]))
        keys = (key.rpartition("/") for key in stored.files if key != _META)
        for group, _, number in sorted(keys, key=lambda key: (key[0], int(key[2]))):
            names.setdefault(group, []).append(f"{group}/{number}")
    return {group: _Stored(path, own) for group, own in names.items()}, meta


def _view(value: Any) -> np.ndarray:
    """A variable's value, or an array, not copied where that can be: use it at once, do not keep it."""
    if isinstance(value, keras.Variable):
        value = value.value
    if isinstance(value, tf.distribute.DistributedValues):
        return value.numpy()  # of replicas: the first
    return np.asarray(value.read_value() if isinstance(value, tf.Variable) else value)


def copies(values: Sequence[Any]) -> list[np.ndarray]:
    """Copies of variables' values."""
    return [_copy(value) for value in values]


def copy_into(array: np.ndarray, value: Any) -> None:
    """A variable's value, or an array, into an array of its shape."""
    table = _large(value)
    if table is None:
        np.copyto(array, _view(value))
        return
    for rows in _pieces(table):
        array[rows] = _read(table, rows)


def _copy(value: Any) -> np.ndarray:
    table = _large(value)
    if table is None:
        return np.array(_view(value))
    array = np.empty(table.shape, table.dtype.as_numpy_dtype)
    copy_into(array, value)
    return array


def _large(value: Any) -> tf.Variable | None:
    """The variable, where it is one of this process whose rows can be read and that is worth it."""
    if isinstance(value, keras.Variable):
        value = value.value
    if not isinstance(value, tf.Variable) or isinstance(value, tf.distribute.DistributedValues):
        return None
    worth = value.shape.rank and value.shape.num_elements() * value.dtype.size > _PIECE
    return value if worth else None


def _pieces(table: tf.Variable) -> Iterator[slice]:
    """The rows of a table, in stretches."""
    rows = table.shape[0]
    step = max(1, rows * _PIECE // (table.shape.num_elements() * table.dtype.size))
    for first in range(0, rows, step):
        yield slice(first, min(first + step, rows))


def _read(table: tf.Variable, rows: slice) -> np.ndarray:
    return np.asarray(tf.gather(table, tf.range(rows.start, rows.stop)))


def assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Assigns `values` to `variables` in order.

    Raises:
        ValueError: their numbers or shapes differ; the checkpoint is of another model.
    """
    if len(variables) != len(values):
        raise ValueError(f"expected {len(variables)} values, received {len(values)}")
    for variable, value in zip(variables, values, strict=True):
        if tuple(variable.shape) != value.shape:
            raise ValueError(
                f"{variable.path}: expected shape {tuple(variable.shape)}, received {value.shape}"
            )
        table = _large(variable)
        if table is None:
            variable.assign(value)
            continue
        for rows in _pieces(table):
            table.scatter_update(tf.IndexedSlices(value[rows], tf.range(rows.start, rows.stop)))
