"""The optimizer of all networks."""

from __future__ import annotations

import keras


def adam(layer: keras.layers.Layer, learning_rate: float, weight_decay: float = 0.0) -> keras.optimizers.Adam:
    """Adam with its variables made, for the trainable variables of `layer`.

    Args:
        weight_decay: decoupled (Loshchilov, Hutter, 2019); 0 for none.
    """
    optimizer = keras.optimizers.Adam(learning_rate, weight_decay=weight_decay or None)
    optimizer.build(layer.trainable_variables)
    return optimizer
