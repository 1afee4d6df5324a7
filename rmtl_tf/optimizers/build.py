"""The optimizer of a network, as configured."""

from __future__ import annotations

import keras

from rmtl_tf.config import OptimizerConfig
from rmtl_tf.optimizers.optimizer import DENSE, RULES, TableOptimizer


def build_optimizer(
    layer: keras.layers.Layer,
    learning_rate: float,
    weight_decay: float = 0.0,
    config: OptimizerConfig | None = None,
    followed: bool = False,
) -> TableOptimizer:
    """The optimizer of `layer` with its variables made, for the trainable variables.

    Args:
        weight_decay: decoupled; 0 for none.
        followed: a target network follows this one at every step (`rmtl_tf.rl.following`). Under a rule that
            moves untouched rows too it then moves whole tables, so such a rule has nothing to save: dense.
    """
    config = config or OptimizerConfig()
    dense = followed and not touched_rows_only(config)
    optimizer = TableOptimizer(
        learning_rate,
        tables=DENSE if dense else config.tables,
        table_learning_rate=config.table_learning_rate,
        weight_decay=weight_decay or None,
        global_clipnorm=config.clip_norm,
        clipnorm=config.clip_variable_norm,
    )
    optimizer.build(layer.trainable_variables)
    return optimizer


def touched_rows_only(config: OptimizerConfig) -> bool:
    """Whether the configured rule leaves rows that a batch did not touch where they are."""
    return config.tables != DENSE and not RULES[config.tables].MOVES_UNTOUCHED
