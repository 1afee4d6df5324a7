"""A stack of dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.layers.dropout import Dropout
from rmtl_tf.layers.once import once
from rmtl_tf.layers.seeds import derive_seed


@keras.saving.register_keras_serializable(package="rmtl_tf")
class MLP(keras.layers.Layer):
    """Dense, activation and dropout for every width; no batch normalisation. No widths: the identity.

    Args:
        widths: units of each layer.
        dropout: share of each layer's outputs zeroed in training. Default 0.
        activation: of every layer, the last one too. Default "relu".
        seed: of the initial weights (Glorot uniform; biases 0) and of dropout.
    """

    def __init__(
        self,
        widths: Sequence[int],
        dropout: float = 0.0,
        activation: str = "relu",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.dropout = dropout
        self.activation = activation
        self.seed = seed
        self.dense = [
            keras.layers.Dense(
                width,
                activation=activation,
                kernel_initializer=keras.initializers.GlorotUniform(seed=derive_seed(seed, "dense", i)),
                dtype=self.dtype_policy,
                name=f"dense_{i}",
            )
            for i, width in enumerate(self.widths)
        ]
        self.drop = [
            Dropout(dropout, seed=derive_seed(seed, "dropout", i), dtype=self.dtype_policy)
            for i in range(len(self.widths))
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for dense in self.dense:
            dense.build(input_shape)
            input_shape = (*input_shape[:-1], dense.units)

    def call(self, x: Any, training: bool = False) -> Any:
        """[N, I] -> [N, last width]."""
        for dense, drop in zip(self.dense, self.drop, strict=True):
            x = drop(once(dense, x, dense), training=training)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.widths[-1]) if self.widths else tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {
            "widths": self.widths,
            "dropout": self.dropout,
            "activation": self.activation,
            "seed": self.seed,
        }
        return {**super().get_config(), **own}
