"""Small operations on the networks a phase trains."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from rmtl_tf.config import OptimizerConfig, PhaseConfig
from rmtl_tf.features.spec import InputSpec, history_input
from rmtl_tf.optimizers import build_optimizer
from rmtl_tf.rl.critic_base import Critic
from rmtl_tf.training.checkpoint import copies
from rmtl_tf.training.problem import Weights

_WORTH_COLLECTING = 32 << 20


def build(layer: keras.layers.Layer, spec: InputSpec) -> None:
    """Creates the variables of a backbone by calling it on one record of padding."""
    example: dict[str, np.ndarray] = {name: np.zeros(1, np.int32) for name, _ in spec.categorical}
    example |= {name: np.zeros((1, most), np.int32) for name, most in spec.several}
    example |= {name: np.zeros(1, np.float32) for name in spec.numeric}
    if spec.history is not None:
        names, shape = (history_input(name) for name in spec.history.names), (1, spec.history.length)
        example |= {name: np.zeros(shape, np.int32) for name in names}
    layer(example, training=False)


def compute_in(policy: str, layer: keras.layers.Layer) -> None:
    """Makes `layer` and its parts compute under a Keras dtype policy; its weights stay what they are."""
    for part in layer._flatten_layers():
        part.dtype_policy = policy


@contextmanager
def full_precision(layer: keras.layers.Layer) -> Iterator[None]:
    """Inside, `layer` and its parts compute in float32; for a function to be traced of a layer that trains in
    mixed precision: logits of bfloat16 have so few values that an AUC of them is one of ties."""
    mixed = [(part, part.dtype_policy) for part in layer._flatten_layers() if part.compute_dtype != "float32"]
    for part, _ in mixed:
        part.dtype_policy = "float32"
    try:
        yield
    finally:
        for part, policy in mixed:
            part.dtype_policy = policy


def compile_model(
    model: keras.Model,
    layer: keras.layers.Layer,
    config: PhaseConfig,
    optimizer: OptimizerConfig | None = None,
    followed: bool = False,
) -> None:
    """Compiles `model` with an optimizer of the variables of `layer`.

    `optimizer`, `followed`: see `build_optimizer`.
    """
    made = build_optimizer(layer, config.learning_rate, config.weight_decay, optimizer, followed)
    model.compile(optimizer=made)


def copy_embeddings(actor: keras.layers.Layer, critic: Critic) -> None:
    """Starts the critic's embeddings from those of the actor; one of a user's own may have none."""
    if hasattr(actor, "embedding"):
        for embedding in critic.embeddings:
            embedding.start_from(actor.embedding)


def weights_of(layer: keras.layers.Layer) -> Weights:
    """A copy of a layer's weights."""
    return copies(layer.weights)


def seeds_of(layer: keras.layers.Layer) -> list[Any]:
    """Variables that are no weights: the states of seed generators."""
    weights = {id(variable) for variable in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def release(table_bytes: int) -> None:
    """Frees what earlier phases left: networks and traced functions refer to each other, so they live until
    Python looks for such cycles, which it does by the number of objects and not by their size.

    Args:
        table_bytes: of one embedding table; below some size the search is not worth its tenth of a second.
    """
    if table_bytes >= _WORTH_COLLECTING:
        gc.collect()
