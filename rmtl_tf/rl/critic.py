"""The multi-critic: Q_k(s, a_k) for every task, on one shared state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import tensorflow as tf

from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import MLP, FieldEmbedding
from rmtl_tf.layers.seeds import derive_seed
from rmtl_tf.rl.critic_base import Critic, dense


@keras.saving.register_keras_serializable(package="rmtl_tf")
class MultiCritic(Critic):
    """Q_k(s, a_k) = -softplus(head_k([bottom(s), relu(W_k a_k)])) <= 0 (paper, section 3.3; METHOD 3).

    One bottom is shared by all tasks; each task has an action layer and a head. The output is a
    negative softplus: a negative ReLU, as in the published code and with `output="relu"`, can die
    (METHOD 7.5).

    Args: see `Critic`.
    """

    FORM: ClassVar[str] = "shared"

    def __init__(self, spec: InputSpec, num_tasks: int, **settings: Any) -> None:
        super().__init__(spec, num_tasks, **settings)
        seed, tasks = self.seed, range(num_tasks)
        self.embedding = FieldEmbedding(
            spec, self.embedding_dim, id_dropout=self.id_dropout, seed=derive_seed(seed, "embedding")
        )
        self.bottom = MLP(self.bottom_widths, dropout=self.dropout, seed=derive_seed(seed, "bottom"))
        self.action_layers = [dense(self.action_width, derive_seed(seed, "action", k), "relu") for k in tasks]
        self.heads = [
            MLP(self.tower_widths, dropout=self.dropout, seed=derive_seed(seed, "head", k)) for k in tasks
        ]
        self.values = [dense(1, derive_seed(seed, "value", k)) for k in tasks]

    @property
    def embeddings(self) -> tuple[FieldEmbedding, ...]:
        return (self.embedding,)

    def build(self, input_shape: Any = None) -> None:
        self.embedding.build(input_shape)
        self.bottom.build((None, self.embedding.state_width))
        joined = self.encoded_width + self.action_width
        for action, head, value in zip(self.action_layers, self.heads, self.values, strict=True):
            action.build((None, 1))
            head.build((None, joined))
            value.build((None, self.tower_widths[-1] if self.tower_widths else joined))

    @property
    def encoded_width(self) -> int:
        """The bottom's."""
        return self.bottom_widths[-1] if self.bottom_widths else self.embedding.state_width

    def call(self, inputs: Mapping[str, tf.Tensor], actions: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Values [N, K] of the actions [N, K] (probabilities) in the states `inputs` {name: [N]}."""
        return self.evaluate(self.encode(inputs, training), actions, training)

    def encode(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The bottom's outputs [N, W]."""
        return self.bottom(self.embedding(inputs, training=training), training=training)

    def evaluate(self, encoded: tf.Tensor, actions: tf.Tensor, training: bool = False) -> tf.Tensor:
        values = []
        for k in range(self.num_tasks):
            action = self.action_layers[k](actions[:, k : k + 1])  # [N, A]
            hidden = self.heads[k](tf.concat([encoded, action], axis=1), training=training)
            values.append(self.values[k](hidden))
        return self.negative(values)
