"""Twin critics: two multi-critics, of which the lower one makes the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import FieldEmbedding
from rmtl_tf.layers.seeds import derive_seed
from rmtl_tf.rl.critic import MultiCritic
from rmtl_tf.rl.critic_base import Critic


@keras.saving.register_keras_serializable(package="rmtl_tf")
class TwinCritic(Critic):
    """Q = (Q_1 + Q_2) / 2 of two multi-critics that differ in their seeds.

    Both learn the same target, made from min(Q_1, Q_2) of their target copies, value by value (clipped
    double Q-learning of TD3: Fujimoto, van Hoof, Meger, "Addressing Function Approximation Error in
    Actor-Critic Methods", ICML 2018). TD3 trains its actor with Q_1 alone; here Q weighs losses, and the
    mean of two estimates has less noise than one. No action is chosen by Q, so there is no
    overestimation to undo: the minimum shifts the targets down, |Q| and omega = 1 - lambda Q up, by as
    much as the twins disagree.

    Args: see `Critic`.
    """

    FORM: ClassVar[str] = "twin"

    def __init__(self, spec: InputSpec, num_tasks: int, **settings: Any) -> None:
        super().__init__(spec, num_tasks, **settings)
        own = {
            "embedding_dim": self.embedding_dim,
            "bottom": self.bottom_widths,
            "action": self.action_width,
            "tower": self.tower_widths,
            "dropout": self.dropout,
            "id_dropout": self.id_dropout,
            "output": self.output_form,
        }
        self.twins = [
            MultiCritic(spec, num_tasks, seed=derive_seed(self.seed, "twin", i), **own) for i in range(2)
        ]

    @property
    def embeddings(self) -> tuple[FieldEmbedding, ...]:
        return tuple(twin.embedding for twin in self.twins)

    def build(self, input_shape: Any = None) -> None:
        for twin in self.twins:
            twin.build(input_shape)

    def estimates(
        self, inputs: Mapping[str, tf.Tensor], actions: tf.Tensor, training: bool = False
    ) -> list[tf.Tensor]:
        """Q_1 and Q_2, each [N, K]."""
        return [twin(inputs, actions, training=training) for twin in self.twins]

    def call(self, inputs: Mapping[str, tf.Tensor], actions: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Values [N, K] of the actions [N, K] (probabilities) in the states `inputs` {name: [N]}."""
        first, second = self.estimates(inputs, actions, training)
        return (first + second) / 2.0

    @property
    def encoded_width(self) -> int:
        """Both twins', side by side."""
        return sum(twin.encoded_width for twin in self.twins)

    def encode(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The outputs [N, W] of both bottoms."""
        return tf.concat([twin.encode(inputs, training) for twin in self.twins], axis=1)

    def evaluate(self, encoded: tf.Tensor, actions: tf.Tensor, training: bool = False) -> tf.Tensor:
        halves = tf.split(encoded, [twin.encoded_width for twin in self.twins], axis=1)
        pairs = zip(self.twins, halves, strict=True)
        first, second = (twin.evaluate(half, actions, training) for twin, half in pairs)
        return (first + second) / 2.0

    def start_from(self, mean_values: Sequence[float]) -> None:
        for twin in self.twins:
            twin.start_from(mean_values)
