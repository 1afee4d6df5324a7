"""Explicit feature crosses of bounded degree."""

from __future__ import annotations

from typing import Any

import keras

from rmtl_tf.layers.once import once
from rmtl_tf.layers.seeds import derive_seed


@keras.saving.register_keras_serializable(package="rmtl_tf")
class Cross(keras.layers.Layer):
    """The cross network of DCN-v2: x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, elementwise product.

    W_l is a full square matrix; with L layers the result holds feature crosses up to degree L + 1.

    Args:
        layers: L, number of cross layers.
        seed: of the initial weights (Glorot uniform; biases 0).

    References:
        Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale
        Learning to Rank Systems", WWW 2021, arXiv 2008.13535: equation 1; below a backbone it is the paper's
        stacked structure.
    """

    def __init__(self, layers: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers = layers
        self.seed = seed
        self.linear: list[keras.layers.Dense] = []

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for i in range(self.layers):
            dense = keras.layers.Dense(
                input_shape[-1],
                kernel_initializer=keras.initializers.GlorotUniform(seed=derive_seed(self.seed, i)),
                dtype=self.dtype_policy,
                name=f"linear_{i}",
            )
            dense.build(input_shape)
            self.linear.append(dense)

    def call(self, x: Any) -> Any:
        """[N, I] -> [N, I]."""
        return once(self, x, self._crossed)

    def _crossed(self, x: Any) -> Any:
        crossed = x
        for linear in self.linear:
            crossed = x * linear(crossed) + crossed
        return crossed

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layers": self.layers, "seed": self.seed}
