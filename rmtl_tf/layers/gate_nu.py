"""The gate that scales units up or down."""

from __future__ import annotations

from typing import Any

import keras

from rmtl_tf.layers.seeds import derive_seed

GAMMA = 2.0  # the paper's: a gate whose input is 0 lets a unit pass as it is


@keras.saving.register_keras_serializable(package="rmtl_tf")
class GateNU(keras.layers.Layer):
    """Gate Neural Unit: delta = 2 sigmoid(W' relu(W x + b) + b'), one factor in (0, 2) a unit.

    Args:
        units: factors the gate gives; the hidden layer has as many units.
        seed: of the initial weights (Glorot uniform; biases 0).

    References:
        Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with
        Personalized Prior Information", KDD 2023, arXiv 2302.01115 (Gate NU, gamma = 2). As in EasyRec's
        GateNN, the hidden layer is as wide as the gate.
    """

    def __init__(self, units: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.seed = seed
        self.hidden = self._dense("hidden", "relu")
        self.score = self._dense("score", "sigmoid")

    def _dense(self, name: str, activation: str) -> keras.layers.Dense:
        return keras.layers.Dense(
            self.units,
            activation=activation,
            kernel_initializer=keras.initializers.GlorotUniform(seed=derive_seed(self.seed, name)),
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.hidden.build(input_shape)
        self.score.build((*input_shape[:-1], self.units))

    def call(self, x: Any) -> Any:
        """[N, I] -> factors [N, units]."""
        return GAMMA * self.score(self.hidden(x))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "seed": self.seed}
