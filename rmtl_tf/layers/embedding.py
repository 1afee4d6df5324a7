"""Raw inputs to the state vector: one fused embedding table and one linear map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.errors import UserError
from rmtl_tf.features.compression import PRODUCT
from rmtl_tf.features.ids import PADDING_ID, UNKNOWN_ID
from rmtl_tf.features.spec import InputSpec, check_spec, history_input
from rmtl_tf.layers.history import HistoryField
from rmtl_tf.layers.once import once
from rmtl_tf.layers.quotient_remainder import FactorsNearOne, compose
from rmtl_tf.layers.seeds import derive_seed
from rmtl_tf.optimizers.tables import read_rows

_AT_ONCE = 1 << 18  # vectors


@keras.saving.register_keras_serializable(package="rmtl_tf")
class FieldEmbedding(keras.layers.Layer):
    """Embeds every categorical input and maps all numeric ones to one more field of the same width.

    The tables of all categorical inputs are one variable: ids get the offset of their field and one gather
    reads them all. Of several ids a record (`spec.several`) the field is the mean of their rows. The state
    is the fields' concatenation (Liu et al., WWW 2023, section 3: "state representation network"). With
    `spec.history` the session's earlier records, looked up in the same table, are one more field, the last
    (`HistoryField`). Of inputs in `spec.compression` an id has two rows, which are multiplied or added.

    Args:
        spec: names and sizes of the inputs.
        width: D, width of every field.
        id_dropout: in training, the probability with which each user or item id (`spec.ids`) is
            replaced by 1, the unknown value, in the history too. Default 0.
        seed: of the initial weights and of id dropout.
        parts: of the history's field, see `HistoryField`. Default 1.

    Raises:
        UserError: `spec` has no input, a name twice, a size below 2, an unknown name in `ids` or in the
            history.

    Example:
        spec = InputSpec(categorical=(("user", 1000), ("item", 5000)), numeric=("price",), ids=("user",))
        FieldEmbedding(spec, width=16)({"user": [2, 3], "item": [7, 0], "price": [0.1, -1.2]})  # [2, 3 * 16]
    """

    def __init__(
        self,
        spec: InputSpec,
        width: int,
        id_dropout: float = 0.0,
        seed: int = 0,
        parts: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_spec(spec)
        self.spec = spec
        self.width = width
        self.id_dropout = id_dropout
        self.seed = seed
        self.parts = parts
        self._rows: dict[str, tuple[int, int]] = {}
        rows = 0
        self._layouts = {name: spec.layout(name) for name, _ in spec.categorical}
        for name, layout in self._layouts.items():
            self._rows[name] = (rows, rows + layout.rows)
            rows += layout.rows
        self.total_rows = rows
        self._operation = "" if spec.compression is None else spec.compression.operation
        self.table: Any = None
        self.numeric: keras.layers.Dense | None = None
        self.history: HistoryField | None = None
        self.seed_generator: keras.random.SeedGenerator | None = None
        if spec.numeric:
            self.numeric = keras.layers.Dense(
                width,
                kernel_initializer=keras.initializers.GlorotUniform(seed=derive_seed(seed, "numeric")),
                dtype=self.dtype_policy,
                name="numeric",
            )
        self._history = [] if spec.history is None else [history_input(n) for n in spec.history.names]
        if spec.history is not None:
            self.history = HistoryField(
                spec, width, parts, derive_seed(seed, "history"), dtype=self.dtype_policy, name="history"
            )
        if id_dropout and spec.ids:
            self.seed_generator = keras.random.SeedGenerator(derive_seed(seed, "id_dropout"))

    @property
    def fields(self) -> int:
        """F: one field per categorical input, one for all numeric inputs together, one for the history."""
        return len(self.spec.categorical) + bool(self.spec.numeric) + bool(self.spec.history)

    @property
    def state_width(self) -> int:
        """Width of the result: F * D."""
        return self.fields * self.width

    def field_rows(self, name: str) -> slice:
        """Rows of `table` that belong to the categorical input `name`; row i is id i unless it is compressed.

        Raises:
            KeyError: no categorical input has this name.
        """
        return slice(*self._rows[name])

    def vectors(self, name: str) -> np.ndarray:
        """The embedding of every id of the categorical input `name`, [ids, D].

        Raises:
            KeyError: no categorical input has this name.
        """
        size = self._layouts[name].size
        parts = [
            self._embed({name: np.arange(first, min(first + _AT_ONCE, size), dtype=np.int32)}, [name])
            for first in range(0, size, _AT_ONCE)
        ]
        return np.concatenate([np.asarray(keras.ops.cast(part[:, 0], "float32")) for part in parts])

    def build(self, input_shape: Any = None) -> None:
        if self.spec.categorical:
            start: Any = keras.initializers.RandomUniform(seed=derive_seed(self.seed, "table"))
            if self._operation == PRODUCT:
                parts = [(self._rows[name][0], layout) for name, layout in self._layouts.items()]
                start = FactorsNearOne(start, parts)
            self.table = self.add_weight(
                name="table",
                shape=(self.total_rows, self.width),
                initializer=start,
                autocast=False,  # in mixed precision cast the rows read, not the table
            )
        if self.numeric is not None:
            self.numeric.build((None, len(self.spec.numeric)))
        if self.history is not None:
            self.history.build()

    def start_from(self, other: FieldEmbedding) -> None:
        """Copies the weights of an embedding of the same inputs and width.

        Those of a history that is of other parts are not copied: they do not fit.
        """
        if self.table is not None:
            self.table.assign(other.table)
        layers = [(self.numeric, other.numeric)]
        if self.parts == other.parts:
            layers.append((self.history, other.history))
        for own, given in layers:
            if own is not None and given is not None:
                own.set_weights(given.get_weights())

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """State [N, F * D] of `inputs`, {name: [N]}, [N, M] for several ids and [N, H] for the history; names
        the spec does not list are ignored.

        Raises:
            UserError: an input of the spec is missing.
            tf.errors.InvalidArgumentError: an id is outside its field.
        """
        names = (*self._rows, *self.spec.numeric, *self._history)
        if missing := [name for name in names if name not in inputs]:
            raise UserError(
                f"inputs: expected {missing} too; received {sorted(inputs)}. Pass every input of the spec."
            )
        inputs = self.drop_ids({name: inputs[name] for name in names}, training)
        return once(self, tuple(inputs.values()), lambda _: self._state(inputs))

    def _state(self, inputs: Mapping[str, Any]) -> tf.Tensor:
        return self.some_fields(inputs, tuple(self._rows), self.numeric is not None, self.history is not None)

    def some_fields(
        self, inputs: Mapping[str, Any], categorical: Sequence[str], numeric: bool, history: bool
    ) -> tf.Tensor:
        """Some fields of the state [N, fields * D], at least one: those of the categorical inputs named, in
        their order, the numbers' and the history's."""
        parts = []
        if categorical:
            parts.append(self._fields(inputs, categorical))  # (N, categorical fields, D)
        if numeric and self.numeric is not None:
            parts.append(keras.ops.expand_dims(self.numeric(self._numbers(inputs, self.spec.numeric)), 1))
        if history and self.history is not None:
            parts.append(keras.ops.expand_dims(self._past(self.history, inputs), 1))
        embedded = parts[0] if len(parts) == 1 else keras.ops.concatenate(parts, axis=1)  # (N, fields, D)
        return keras.ops.reshape(embedded, (-1, embedded.shape[1] * self.width))

    def _fields(self, inputs: Mapping[str, Any], names: Sequence[str]) -> Any:
        """Some categorical fields [N, names, D]."""
        several = [name for name, _ in self.spec.several if name in names]
        single = [name for name in names if name not in several]
        if not several:
            return self._embed(inputs, single)
        fields = {name: self._mean(name, inputs[name]) for name in several}
        if single:
            fields |= dict(zip(single, keras.ops.unstack(self._embed(inputs, single), axis=1), strict=True))
        return keras.ops.stack([fields[name] for name in names], axis=1)

    def _mean(self, name: str, ids: Any) -> Any:
        """The mean [N, D] of the rows of ids [N, M] that are not padding; zeros where all are."""
        present = keras.ops.cast(ids, "int32") != PADDING_ID
        weight = keras.ops.cast(keras.ops.expand_dims(present, -1), self.compute_dtype)
        embedded = self._embed({name: ids}, [name])[:, :, 0] * weight  # (N, M, D)
        return keras.ops.sum(embedded, axis=1) / keras.ops.maximum(keras.ops.sum(weight, axis=1), 1)

    def drop_ids(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """`inputs` after id dropout, for several embeddings that must not see what one of them dropped."""
        if not training or self.seed_generator is None:
            return dict(inputs)
        dropped = dict(inputs)
        for name in (name for name in self._rows if name in self.spec.ids):
            past = [key for key in self._history if key == history_input(name)]
            dropped |= {key: self._drop(inputs[key]) for key in (name, *past)}
        return dropped

    def _drop(self, ids: Any) -> Any:
        ids = keras.ops.cast(ids, "int32")
        dropped = keras.random.uniform(keras.ops.shape(ids), seed=self.seed_generator) < self.id_dropout
        # Padding stays padding: an unknown record is not none.
        return keras.ops.where(dropped & (ids != PADDING_ID), UNKNOWN_ID, ids)

    def _past(self, layer: HistoryField, inputs: Mapping[str, Any]) -> Any:
        """The history's field [N, D]."""
        spec = layer.history
        now = {name: inputs[name] for name in spec.inputs}
        past = {name: inputs[history_input(name)] for name in spec.names}
        codes = [keras.ops.cast(past[task.name], "int32") for task in spec.tasks]
        entries = [
            keras.ops.cast(past[spec.item], "int32") != PADDING_ID,
            self._embed(past, layer.categorical),
            self._numbers(past, layer.numeric),
            _stack(codes, past[spec.item], "int32"),
        ]
        return layer([*entries, self._embed(now, layer.categorical), self._numbers(now, layer.numeric)])

    def _numbers(self, inputs: Mapping[str, Any], names: Sequence[str]) -> Any:
        """The numbers [..., names]."""
        like = next(iter(inputs.values()))
        return _stack([inputs[name] for name in names], like, self.compute_dtype)

    def _embed(self, inputs: Mapping[str, Any], names: Iterable[str]) -> Any:
        """The rows [..., names, D] of the ids [...] of some categorical inputs."""
        ids = keras.ops.stack([keras.ops.cast(inputs[name], "int32") for name in names], axis=-1)
        names = list(names)
        sizes = {name: self._layouts[name].size for name in names}
        # Without this an id too large would silently read the next field's rows.
        inside = tf.reduce_all((ids >= 0) & (ids < tf.constant(list(sizes.values()))))
        known = f"ids must be below the sizes of their fields {sizes}; received ids up to"
        largest = tf.reduce_max(tf.reshape(ids, (-1, len(sizes))), axis=0)
        with tf.control_dependencies([tf.debugging.Assert(inside, [known, largest])]):
            ids = tf.identity(ids)
        if all(self._layouts[name].ratio == 1 for name in names):
            return self._read(ids, names)
        columns = zip(tf.unstack(ids, axis=-1), names, strict=True)
        return keras.ops.stack([self._vectors(column, name) for column, name in columns], axis=-2)

    def _vectors(self, ids: tf.Tensor, name: str) -> tf.Tensor:
        """The vectors [..., D] of the ids [...] of one input, compressed or not."""
        layout = self._layouts[name]
        if layout.ratio == 1:
            return self._read(ids[..., tf.newaxis], [name])[..., 0, :]
        return compose(ids, layout, self._operation, lambda rows: self._read(rows, [name, name]))

    def _read(self, rows: tf.Tensor, names: Sequence[str]) -> tf.Tensor:
        """The rows [..., names, D] of the table at `rows` [..., names] of the inputs' own."""
        rows = rows + tf.constant([self._rows[name][0] for name in names])
        return keras.ops.cast(read_rows(self.table, rows), self.compute_dtype)

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> tuple[int | None, int]:
        return (next(iter(input_shape.values()))[0], self.state_width)

    def get_config(self) -> dict[str, Any]:
        own = {
            "spec": self.spec.get_config(),
            "width": self.width,
            "id_dropout": self.id_dropout,
            "seed": self.seed,
            "parts": self.parts,
        }
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FieldEmbedding:
        return cls(**{**config, "spec": InputSpec.from_config(config["spec"])})


def _stack(columns: Sequence[Any], like: Any, dtype: str) -> Any:
    """Columns [...] -> [..., columns]; without any, of the shape of `like` [...]."""
    columns = [keras.ops.cast(column, dtype) for column in columns]
    if not columns:
        return keras.ops.cast(keras.ops.expand_dims(like, -1)[..., :0], dtype)
    return keras.ops.stack(columns, axis=-1)
