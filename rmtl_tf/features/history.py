"""The history lists of requests as model inputs: offline with numpy, and inside TensorFlow as it is exported.

A list input is `history_<name>` [N, L] for any L: an entry for every earlier record, the newest last, shorter
rows padded at their end. An entry is there where its item is not empty. The model takes the last H that are
there, in order. A task's code that is none of 1, 2, 3 means that nothing is known of the label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from rmtl_tf.features.apply import GraphApplier
from rmtl_tf.features.graph import RawType, RawValue, TransformGraph
from rmtl_tf.features.spec import (
    NEGATIVE,
    POSITIVE,
    UNKNOWN_YET,
    HistorySpec,
    history_input,
    history_list,
)

NO_CODE = 0
CODES = (UNKNOWN_YET, NEGATIVE, POSITIVE)


def history_types(graph: TransformGraph, history: HistorySpec | None) -> dict[str, RawType]:
    """List input -> type of its values, as the serving signature takes them."""
    if history is None:
        return {}
    types: dict[str, RawType] = {history_list(name): graph.raw[name] for name in history.inputs}
    return types | {history_list(task.name): "int" for task in history.tasks}


def history_defaults(graph: TransformGraph, history: HistorySpec | None) -> dict[str, RawValue]:
    """List input -> the value that means missing, and pads."""
    if history is None:
        return {}
    values: dict[str, RawValue] = {history_list(name): graph.defaults[name] for name in history.inputs}
    return values | {history_list(task.name): NO_CODE for task in history.tasks}


def apply_history(
    graph: TransformGraph, history: HistorySpec, raw: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The model's inputs {`history/<name>`: [N, H]} of raw lists {`history_<name>`: [N, L]}."""
    items = raw[history_list(history.item)]
    place = np.full((len(items), history.length), -1)  # of each entry in its list, -1: padding
    for row, names in enumerate(items):
        there = np.flatnonzero(names != b"")[-history.length :]
        place[row, history.length - there.size :] = there
    present = place >= 0
    kept = np.nonzero(present)[0], place[present]
    applier = GraphApplier(
        replace(graph, features=tuple(f for f in graph.features if f.name in history.inputs))
    )
    flat: dict[str, Any] = {}
    for name in history.inputs:
        values = raw[history_list(name)][kept]
        flat[name] = pa.array(values.tolist(), pa.large_binary()) if graph.raw[name] == "string" else values
    columns = {history_input(name): values for name, values in applier(flat).items()}
    for task in history.tasks:
        codes = raw[history_list(task.name)][kept]
        columns[history_input(task.name)] = np.where(np.isin(codes, CODES), codes, UNKNOWN_YET)
    return {name: _spread(values, present) for name, values in columns.items()}


def _spread(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    spread = np.zeros(present.shape, np.float32 if values.dtype.kind == "f" else np.int32)
    spread[present] = values
    return spread
