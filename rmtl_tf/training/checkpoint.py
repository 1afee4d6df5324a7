"""Checkpoints that resume training to the same bits.

`tf.train.Checkpoint` of a Keras 3 model leaves out the states of its seed generators, so dropout
would not continue where it was; here the caller lists every variable, and the order is the identity.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_META = "meta"


def save_checkpoint(path: Path, groups: Mapping[str, Sequence[Any]], meta: Mapping[str, Any]) -> None:
    """Writes groups of variables or arrays, and JSON-able `meta`, so that a reader sees all or nothing."""
    arrays: dict[str, Any] = {
        f"{group}/{number}": np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        for group, values in groups.items()
        for number, value in enumerate(values)
    }
    arrays[_META] = np.array(json.dumps(meta))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    with aside.open("wb") as stream:
        np.savez(stream, **arrays)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


def load_checkpoint(path: Path) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]] | None:
    """The groups and meta of a checkpoint, or None where there is none."""
    if not path.exists():
        return None
    groups: dict[str, list[np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as stored:
        meta = json.loads(str(stored[_META]))
        keys = (key.rpartition("/") for key in stored.files if key != _META)
        for group, _, number in sorted(keys, key=lambda key: (key[0], int(key[2]))):
            groups.setdefault(group, []).append(stored[f"{group}/{number}"])
    return groups, meta


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
        variable.assign(value)
