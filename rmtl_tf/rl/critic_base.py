"""What every form of critic has in common: its settings, its outputs, and the level it starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import FieldEmbedding

OUTPUTS = {"softplus": tf.nn.softplus, "relu": tf.nn.relu}

_LARGEST_EXPONENT = 700.0  # exp() of more is infinite in float64


class Critic(keras.layers.Layer):
    """Base of the critics: `call(inputs, actions [N, K]) -> Q [N, K] <= 0`.

    A subclass makes its layers in `__init__`, among them `values`, one dense output a task, and defines
    `build` and `call`. Where it holds several estimates of Q it also overrides `estimates`; where much of its
    work does not depend on the action, also `encoded_width`, `encode` and `evaluate`.

    Args:
        spec: the inputs.
        num_tasks: K.
        embedding_dim: width D of the embeddings; the actor's, where its table is to be copied.
        bottom: widths of the bottom network.
        action: width of a task's action layer.
        tower: hidden widths of a task's head.
        dropout: rate in bottom and heads.
        id_dropout: share of user and item ids replaced by "unknown" in training; it keeps the critic
            from memorising sessions (METHOD 11).
        output: how a head's number x becomes a value <= 0: "softplus", -ln(1 + e^x), or "relu",
            -max(0, x) as in the published code. The latter has no gradient where x < 0: a head that is
            below 0 on all records answers 0 from then on and learns nothing more (METHOD 7.5).
        seed: of weights and dropout.

    Raises:
        ValueError: `output` is neither.
    """

    FORM: ClassVar[str]

    values: list[keras.layers.Dense]

    def __init__(
        self,
        spec: InputSpec,
        num_tasks: int,
        embedding_dim: int = 128,
        bottom: Sequence[int] = (512, 256),
        action: int = 64,
        tower: Sequence[int] = (128, 64),
        dropout: float = 0.2,
        id_dropout: float = 0.0,
        output: str = "softplus",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if output not in OUTPUTS:
            raise ValueError(f"`output` must be one of {sorted(OUTPUTS)}. Received: {output!r}")
        self.spec, self.num_tasks, self.embedding_dim = spec, num_tasks, embedding_dim
        self.bottom_widths, self.action_width, self.tower_widths = tuple(bottom), action, tuple(tower)
        self.dropout, self.id_dropout, self.output_form, self.seed = dropout, id_dropout, output, seed

    @property
    def embeddings(self) -> tuple[FieldEmbedding, ...]:
        """The embeddings of the state; each may start from the actor's."""
        raise NotImplementedError(f"{type(self).__name__} must define embeddings")

    def estimates(
        self, inputs: Mapping[str, tf.Tensor], actions: tf.Tensor, training: bool = False
    ) -> list[tf.Tensor]:
        """All estimates of Q, each [N, K]; one, unless the form has several."""
        return [self(inputs, actions, training=training)]

    @property
    def encoded_width(self) -> int | None:
        """W of `encode`; None: this form has no part worth keeping that is the same for every action."""
        return None

    def encode(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """What Q takes from the states `inputs` {name: [N]} alone, [N, W]: a frozen critic's can be kept."""
        raise NotImplementedError(f"{type(self).__name__} has no encode: its encoded_width is None")

    def evaluate(self, encoded: tf.Tensor, actions: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Values [N, K] of the actions [N, K] in states encoded as [N, W]."""
        raise NotImplementedError(f"{type(self).__name__} has no evaluate: its encoded_width is None")

    def negative(self, x: list[tf.Tensor]) -> tf.Tensor:
        """The heads' outputs, K of [N, 1], as values [N, K] <= 0."""
        return -OUTPUTS[self.output_form](tf.concat(x, axis=1))

    def start_from(self, mean_values: Sequence[float]) -> None:
        """Sets the output biases so that a new critic answers `mean_values` [K] <= 0 on average."""
        for layer, value in zip(self.values, mean_values, strict=True):
            size = max(-float(value), 1e-4)
            if self.output_form == "softplus" and size < _LARGEST_EXPONENT:
                size = np.log(np.expm1(size))  # softplus(b) = -value, solved for b
            layer.bias.assign([size])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "spec": self.spec.get_config(),
            "num_tasks": self.num_tasks,
            "embedding_dim": self.embedding_dim,
            "bottom": self.bottom_widths,
            "action": self.action_width,
            "tower": self.tower_widths,
            "dropout": self.dropout,
            "id_dropout": self.id_dropout,
            "output": self.output_form,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Critic:
        return cls(**{**config, "spec": InputSpec.from_config(config["spec"])})


def dense(units: int, seed: int, activation: str | None = None) -> keras.layers.Dense:
    return keras.layers.Dense(
        units, activation=activation, kernel_initializer=keras.initializers.GlorotUniform(seed=seed)
    )
