"""The weights of our backbones under names that any framework can take them by.

Names are those of a PyTorch state dict whose modules are called as our attributes: `towers.0.3.weight` is
layer 3 (linear, ReLU, dropout, linear, ...) of the first task's tower. Kernels are [out, in] as there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import keras
import numpy as np

from rmtl_tf.backbones.cross_stitch import CrossStitchUnit
from rmtl_tf.backbones.single_task import SingleTask
from rmtl_tf.layers import MLP, Experts, FieldEmbedding, Gate, Towers

Named = Iterator[tuple[str, np.ndarray]]
_PER_LAYER = 3  # linear, ReLU, dropout


def named_weights(backbone: keras.layers.Layer) -> dict[str, np.ndarray]:
    """Every weight of a built backbone, by name.

    Raises:
        ValueError: a weight has no name: a layer keeps it in a way that is not known here.
    """
    named = dict(_named(backbone, ""))
    sizes = sum(value.size for value in named.values()), sum(prod(w.shape) for w in backbone.weights)
    if sizes[0] != sizes[1]:
        raise ValueError(f"{backbone.name}: named {sizes[0]} of {sizes[1]} weights: {sorted(named)}")
    return named


def _named(part: Any, name: str) -> Named:
    if isinstance(part, FieldEmbedding):
        yield from _tables(np.array(part.table), part, f"{name}.tables")
    elif isinstance(part, SingleTask):
        yield from _single_task(part)
    elif isinstance(part, Experts):
        yield from _experts(part, name)
    elif isinstance(part, MLP):
        yield from _sequence(part.dense, name)
    elif isinstance(part, Towers):
        for k, (hidden, output) in enumerate(zip(part.hidden, part.output_layers, strict=True)):
            yield from _sequence([*hidden.dense, output], f"{name}.{k}")
    elif isinstance(part, Gate):
        yield from _named(part.linear, name)
    elif isinstance(part, keras.layers.Dense):
        yield f"{name}.weight", np.array(part.kernel).T
        if part.use_bias:
            yield f"{name}.bias", np.array(part.bias)
    elif isinstance(part, keras.layers.Embedding):
        yield f"{name}.weight", np.array(part.embeddings)
    elif isinstance(part, CrossStitchUnit):
        yield f"{name}.alpha", np.array(part.alpha)
    elif isinstance(part, keras.layers.Layer):
        for key, value in vars(part).items():
            if not key.startswith("_"):
                yield from _named(value, f"{name}.{key}" if name else key)
    elif isinstance(part, Mapping):
        for key, value in part.items():
            yield from _named(value, f"{name}.{key}")
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for number, value in enumerate(part):
            yield from _named(value, f"{name}.{number}")


def _sequence(dense: Sequence[keras.layers.Dense], name: str) -> Named:
    for i, layer in enumerate(dense):
        yield from _named(layer, f"{name}.{i * _PER_LAYER}")


def _experts(part: Experts, name: str) -> Named:
    for i, (kernel, bias, width) in enumerate(zip(part.kernels, part.biases, part.widths, strict=True)):
        kernel, bias = np.array(kernel), np.array(bias).reshape(part.count, width)
        if i == 0:  # one matrix, the experts side by side
            kernel = kernel.reshape(-1, part.count, width).swapaxes(0, 1)
        for e in range(part.count):
            yield f"{name}.{e}.{i * _PER_LAYER}.weight", kernel[e].T
            yield f"{name}.{e}.{i * _PER_LAYER}.bias", bias[e]


def _tables(table: np.ndarray, part: FieldEmbedding, name: str) -> Named:
    for i, (field, _) in enumerate(part.spec.categorical):
        yield f"{name}.{i}.weight", table[part.field_rows(field)]


def _single_task(part: SingleTask) -> Named:
    """Its tables stand side by side in one."""
    table, width = np.array(part.embedding.table), part.embedding_dim
    for k in range(len(part.tasks)):
        own = table[:, k * width : (k + 1) * width]
        yield from _tables(own, part.embedding, f"embeddings.{k}.tables")
    yield from _named(part.bottoms, "bottoms")
    yield from _named(part.towers, "towers")
