"""The records of the session before this one, as one field of the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers.history_encoders import ENCODERS
from rmtl_tf.layers.seeds import derive_seed

_KNOWLEDGE = 3  # not known yet, known and negative, known and positive


@keras.saving.register_keras_serializable(package="rmtl_tf")
class HistoryField(keras.layers.Layer):
    """Earlier records and what is known of their labels -> [N, W], zeros where there is none.

    Entry j is v_j = relu(M [e_1, ..., e_m, numbers, feedback]): the rows of its ids in the state's own table,
    its numbers, and for every task a one-hot of what is known by now; all v_j go through the encoder. One
    map of all of it can tell an item that was clicked from one that was only shown, in the mean too. The
    current record as the attention's query is v with no feedback.

    Args:
        spec: the inputs; `spec.history` says what an entry holds and which encoder reads it.
        width: W, width of the field.
        parts: the field is as many fields side by side, which share nothing: each sees its own columns of
            the embedded ids (`SingleTask`). W / parts is the width D of each.
        seed: of the initial weights.
    """

    def __init__(self, spec: InputSpec, width: int, parts: int = 1, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        history = spec.history
        if history is None or width % parts:
            raise ValueError(
                f"`spec` must have a history, `parts` divide {width}. Received: {history}, {parts}"
            )
        self.spec, self.width, self.parts, self.seed = spec, width, parts, seed
        self.history = history
        self.categorical = [name for name, _ in spec.categorical if name in history.inputs]
        self.numeric = [name for name in spec.numeric if name in history.inputs]
        self.own = width // parts  # D
        self.tasks = len(history.tasks)
        self.maps, self.encoders = [], []
        for part in range(parts):
            self.maps.append(
                keras.layers.Dense(
                    self.own,
                    activation="relu",
                    kernel_initializer=keras.initializers.GlorotUniform(seed=derive_seed(seed, "map", part)),
                    dtype=self.dtype_policy,
                    name=f"map_{part}",
                )
            )
            self.encoders.append(
                ENCODERS[history.encoder](
                    self.own,
                    history.length,
                    history.heads,
                    derive_seed(seed, "encoder", part),
                    dtype=self.dtype_policy,
                    name=f"encoder_{part}",
                )
            )

    def build(self, input_shape: Any = None) -> None:
        entry = len(self.categorical) * self.own + len(self.numeric) + _KNOWLEDGE * self.tasks
        for linear, encoder in zip(self.maps, self.encoders, strict=True):
            linear.build((None, entry))
            encoder.build()

    def call(self, inputs: Sequence[Any]) -> Any:
        """The field [N, W].

        Args:
            inputs: of the entries `present` [N, H] bool, embedded ids [N, H, m, W], numbers [N, H, n] and
                feedback codes int [N, H, tasks]; then embedded ids [N, m, W] and numbers [N, n] of the
                current record.
        """
        ops = keras.ops
        present, embedded, numbers, codes, embedded_now, numbers_now = inputs
        length = codes.shape[1]
        # Code 0, padding, is no class: its row is zeros.
        known = [
            ops.one_hot(codes[..., k] - 1, _KNOWLEDGE, dtype=self.compute_dtype) for k in range(self.tasks)
        ]
        nothing = [ops.zeros_like(classes[:, 0]) for classes in known]
        results = []
        for part, (linear, encoder) in enumerate(zip(self.maps, self.encoders, strict=True)):
            columns = slice(part * self.own, (part + 1) * self.own)
            size = len(self.categorical) * self.own
            past = ops.reshape(embedded[..., columns], (-1, length, size))
            entries = linear(ops.concatenate([past, numbers, *known], axis=2))  # (N, H, D)
            now = ops.reshape(embedded_now[..., columns], (-1, size))
            current = linear(ops.concatenate([now, numbers_now, *nothing], axis=1))  # (N, D)
            results.append(encoder([entries, current, present]))
        return results[0] if self.parts == 1 else ops.concatenate(results, axis=1)

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[int | None, int]:
        return (input_shape[0][0], self.width)

    def get_config(self) -> dict[str, Any]:
        own = {"spec": self.spec.get_config(), "width": self.width, "parts": self.parts, "seed": self.seed}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HistoryField:
        return cls(**{**config, "spec": InputSpec.from_config(config["spec"])})
