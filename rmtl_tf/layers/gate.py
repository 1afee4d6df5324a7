"""Softmax gates that mix experts."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from rmtl_tf.layers.once import once
from rmtl_tf.layers.seeds import derive_seed


@keras.saving.register_keras_serializable(package="rmtl_tf")
class Gate(keras.layers.Layer):
    """w(x) = softmax(W x), one weight per expert.

    Args:
        count: E, number of experts the gate sees.
        seed: of the initial weights (Glorot uniform).

    References:
        Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018, equation 8: g^k(x) = softmax(W_gk x); Tang et al. (PLE), RecSys
        2020, equation 3. As there, the map has no bias.
    """

    def __init__(self, count: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count
        self.seed = seed
        self.linear = keras.layers.Dense(
            count,
            use_bias=False,
            kernel_initializer=keras.initializers.GlorotUniform(seed=derive_seed(seed, "linear")),
            dtype=self.dtype_policy,
            name="linear",
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.linear.build(input_shape)

    def call(self, x: Any) -> Any:
        """[N, I] -> weights [N, E] that sum to 1."""
        # Not Keras' softmax: it warns where one expert is all there is.
        return once(self, x, lambda x: tf.nn.softmax(self.linear(x)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.count)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "seed": self.seed}


def mix(gates: Any, experts: Any) -> Any:
    """Sum over experts of gate times output: gates [N, E], experts [N, E, W] -> [N, W]."""
    ops = keras.ops
    return ops.squeeze(ops.matmul(ops.expand_dims(gates, 1), experts), axis=1)
