"""Untrained models of the paper's size behind text vocabularies, exported as the pipeline exports."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from rmtl_tf.backbones import build_backbone
from rmtl_tf.config import ModelConfig
from rmtl_tf.export.saved_model import export_saved_model
from rmtl_tf.export.score import ScoreFormula
from rmtl_tf.export.warmup import write_warmup
from rmtl_tf.features.graph import Categorical, TransformGraph
from rmtl_tf.schema import Task

FIELDS, ROWS = 7, 1000  # as the benchmark of training: all categorical
CANDIDATES = tuple(f"f{n}" for n in range(3, FIELDS))


def make_graph(fields: int = FIELDS, rows: int = ROWS) -> TransformGraph:
    """Fields f0, f1, ... of `rows` values each, the first two ids; two tasks."""
    values = tuple(f"value {n}" for n in range(rows))
    return TransformGraph(
        features=tuple(Categorical(f"f{n}", values, is_id=n < 2) for n in range(fields)),
        tasks=(Task("click"), Task("conversion", parent="click")),
        labels=("click", "conversion"),
        timestamp="t",
    )


def make_rows(count: int, seed: int = 0, fields: int = FIELDS, rows: int = ROWS) -> dict[str, np.ndarray]:
    """Raw values {field: bytes [N]}; one in a hundred is unknown."""
    random = np.random.default_rng(seed)
    numbers = random.integers(0, rows + rows // 100, (fields, count))
    return {f"f{f}": np.array([f"value {n}".encode() for n in column]) for f, column in enumerate(numbers)}


def export_model(directory: Path, model: ModelConfig, graph: TransformGraph, seed: int) -> keras.layers.Layer:
    """Writes `model/` and `warmup` into `directory`; returns the backbone."""
    graph.save(directory / "graph")
    backbone = build_backbone(model, graph.input_spec(), graph.tasks, seed)
    backbone.build()
    random = np.random.default_rng(seed)
    for variable in backbone.weights:  # biases start at 0, and a compiler leaves out what is 0
        if "bias" in variable.path:
            variable.assign(random.normal(scale=0.1, size=variable.shape))
    score = ScoreFormula.of({}, "product", [task.name for task in graph.tasks])
    fields = len(graph.features)
    candidates = tuple(name for name in CANDIDATES if name in graph.raw)
    export_saved_model(
        backbone, graph, directory / "graph", score, directory / "model", candidates=candidates
    )
    rows = len(graph.features[0].vocabulary)  # type: ignore[union-attr]
    write_warmup(directory / "warmup", make_rows(100, fields=fields, rows=rows), candidates)
    return backbone
