"""Encoders of a list of entries: `call([entries [N, H, D], current [N, D], present [N, H]]) -> [N, D]`.

`entries` stand oldest first, `present` is False in front of the oldest; `current` is the record whose past
they are. Without any entry every encoder answers zeros. A new one is a class here, a line in `ENCODERS` and
a name in `HistoryConfig.encoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.errors import UserError
from rmtl_tf.layers.seeds import derive_seed

_VERY_LOW = -1e9  # finite in bfloat16, and exp of it is 0


class HistoryEncoder(keras.layers.Layer):
    """Base of the encoders.

    Args:
        width: D, of the entries and of the result.
        length: H.
        heads: of an attention.
        seed: of the initial weights.
    """

    def __init__(self, width: int, length: int, heads: int = 1, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.length, self.heads, self.seed = width, length, heads, seed

    def part_seed(self, name: str) -> int:
        return derive_seed(self.seed, name)

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables; the shapes are known without `input_shape`."""

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return (input_shape[0][0], self.width)

    def get_config(self) -> dict[str, Any]:
        own = {"width": self.width, "length": self.length, "heads": self.heads, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="rmtl_tf")
class MeanEncoder(HistoryEncoder):
    """The mean of the entries, whatever their order."""

    def call(self, inputs: Sequence[Any]) -> Any:
        ops = keras.ops
        entries, _, present = inputs
        weight = ops.expand_dims(ops.cast(present, entries.dtype), 2)  # (N, H, 1)
        return ops.sum(entries * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1)


@keras.saving.register_keras_serializable(package="rmtl_tf")
class GRUEncoder(HistoryEncoder):
    """The last state of a GRU of D units that reads the entries from the oldest to the newest.

    References:
        Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gru = keras.layers.GRU(
            self.width,
            kernel_initializer=keras.initializers.GlorotUniform(seed=self.part_seed("kernel")),
            recurrent_initializer=keras.initializers.Orthogonal(seed=self.part_seed("recurrent")),
            seed=self.part_seed("dropout"),
            # cuDNN wants padding at the end, and a model served on a CPU must be of the same operations.
            use_cudnn=False,
            dtype=self.dtype_policy,
            name="gru",
        )

    def build(self, input_shape: Any = None) -> None:
        self.gru.build((None, self.length, self.width))

    def call(self, inputs: Sequence[Any]) -> Any:
        entries, _, present = inputs
        return self.gru(entries, mask=present)


@keras.saving.register_keras_serializable(package="rmtl_tf")
class AttentionEncoder(HistoryEncoder):
    """Causal self-attention of the session at the current record, which attends to the entries before it.

    For each head, with d = D / heads: a = softmax((q W_q)(v W_k)^T / sqrt(d) + b_age), result a (v W_v), and
    the heads' results concatenated times W_o. b has a number for each head and age (1: the newest entry).
    The record does not attend to itself: it is in the state beside this. No map has a bias, so that
    without entries the result is 0.

    References:
        Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (the causal attention); Shaw et
        al., "Self-Attention with Relative Position Representations", NAACL 2018 (positions by distance).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.width % self.heads:
            raise UserError(
                f"model.history.heads: expected a divisor of the width {self.width}, received {self.heads}."
            )
        self.query, self.key, self.value, self.output_map = (
            keras.layers.Dense(
                self.width,
                use_bias=False,
                kernel_initializer=keras.initializers.GlorotUniform(seed=self.part_seed(name)),
                dtype=self.dtype_policy,
                name=name,
            )
            for name in ("query", "key", "value", "output")
        )

    def build(self, input_shape: Any = None) -> None:
        for layer in (self.query, self.key, self.value, self.output_map):
            layer.build((None, self.width))
        self.age = self.add_weight(name="age", shape=(self.heads, self.length), initializer="zeros")

    def call(self, inputs: Sequence[Any]) -> Any:
        ops = keras.ops
        entries, current, present = inputs
        share = self.width // self.heads  # d
        query = ops.reshape(self.query(current), (-1, 1, self.heads, share))
        key, value = (
            ops.reshape(layer(entries), (-1, self.length, self.heads, share))
            for layer in (self.key, self.value)
        )
        score = ops.transpose(ops.sum(query * key, axis=3), (0, 2, 1)) / share**0.5  # (N, heads, H)
        seen = ops.expand_dims(present, 1)
        # Index i of H has the age H - i.
        score = ops.where(seen, score + ops.flip(self.age, axis=1), _VERY_LOW)
        # Where no entry is there the softmax is even over the padding: hence the product.
        weight = ops.softmax(score, axis=2) * ops.cast(seen, score.dtype)
        mixed = ops.sum(ops.expand_dims(ops.transpose(weight, (0, 2, 1)), 3) * value, axis=1)
        return self.output_map(ops.reshape(mixed, (-1, self.width)))


ENCODERS: dict[str, type[HistoryEncoder]] = {
    "mean": MeanEncoder,
    "gru": GRUEncoder,
    "attention": AttentionEncoder,
}
