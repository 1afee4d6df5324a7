"""What every backbone shares: embedded inputs below, one logit per task above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import keras
import tensorflow as tf

from rmtl_tf import replicas
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import MLP, Cross, FieldEmbedding, Towers
from rmtl_tf.layers.seeds import derive_seed
from rmtl_tf.schema import Task


class Backbone(keras.layers.Layer):
    """Base of all backbones: a multi-task model as a layer.

    A subclass overrides `logits`, makes its layers in `__init__` with seeds from `self.part_seed`,
    and lists in `SETTINGS` the arguments it adds, kept as attributes of the same names; those that
    are fields of `ModelConfig` are set from the configuration.

    `tf.train.Checkpoint` does not look into Keras' lists of layers: checkpoint `variables`, which holds
    the random state of dropout too.

    Args:
        spec: the inputs.
        tasks: what to predict, in schema order.
        embedding_dim: D, width of every field. Default 128.
        dropout: share of hidden units zeroed in training. Default 0.2.
        id_dropout: share of user and item ids replaced by "unknown" in training. Default 0.
        tower: units of the hidden layers of each task's tower. Default (128, 64).
        cross_layers: DCN-v2 cross layers (`Cross`) on the state. Default 0: none.
        seed: of all initial weights and of dropout; equal seeds give equal bits. Default 0.

    Raises:
        UserError: no task, or a task's name twice.
    """

    SETTINGS: ClassVar[tuple[str, ...]] = (
        "embedding_dim",
        "dropout",
        "id_dropout",
        "tower",
        "cross_layers",
    )

    def __init__(
        self,
        spec: InputSpec,
        tasks: Sequence[Task],
        *,
        embedding_dim: int = 128,
        dropout: float = 0.2,
        id_dropout: float = 0.0,
        tower: Sequence[int] = (128, 64),
        cross_layers: int = 0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        names = [task.name for task in tasks]
        if not names or len(set(names)) < len(names):
            raise UserError(f"tasks: expected at least one, every name once; received {names}.")
        self.spec = spec
        self.tasks = tuple(tasks)
        self.embedding_dim = embedding_dim
        self.dropout = dropout
        self.id_dropout = id_dropout
        self.tower = tuple(tower)
        self.cross_layers = cross_layers
        self.seed = seed
        self.embedding = self.make_embedding()
        self.cross = self.make_cross("cross") if cross_layers else None

    def make_embedding(self, history_parts: int = 1) -> FieldEmbedding:
        """The embedding of the state."""
        return FieldEmbedding(
            self.spec,
            self.embedding_dim,
            self.id_dropout,
            self.part_seed("embedding"),
            history_parts,
            dtype=self.dtype_policy,
            name="embedding",
        )

    def make_cross(self, name: str) -> Cross:
        """The cross layers of one embedding."""
        return Cross(self.cross_layers, self.part_seed(name), dtype=self.dtype_policy, name=name)

    def make_towers(self) -> Towers:
        """One tower of `tower` units for each task."""
        return Towers(
            len(self.tasks),
            self.tower,
            self.dropout,
            self.part_seed("towers"),
            dtype=self.dtype_policy,
            name="towers",
        )

    def make_bottoms(self, widths: Sequence[int]) -> list[MLP]:
        """A bottom of `widths` for each task."""
        return [
            MLP(
                widths,
                self.dropout,
                seed=self.part_seed("bottom", k),
                dtype=self.dtype_policy,
                name=f"bottom_{k}",
            )
            for k in range(len(self.tasks))
        ]

    def own_loss(self, values: Any, mask: Any) -> Any:
        """A term of a backbone's own loss: values [N, C] added up over C, averaged over the records whose
        mask [N] is 1, and divided by K; a scalar.

        Divided, because a paper adds such a term to the sum of the tasks' losses and the agent minimises
        their mean. 0 where no record counts.
        """
        valid = tf.cast(mask, tf.float32)
        total = tf.reduce_sum(valid[:, tf.newaxis] * values)
        return tf.math.divide_no_nan(total, replicas.total(tf.reduce_sum(valid))) / len(self.tasks)

    def part_seed(self, *path: str | int) -> int:
        """The seed of the part at `path`."""
        return derive_seed(self.seed, *path)

    @property
    def state_width(self) -> int:
        """Width of the state."""
        return self.embedding.state_width

    def state(self, inputs: Mapping[str, Any], training: bool = False) -> Any:
        """Inputs {name: [N]} -> state [N, F * D]: the embedded fields, with `cross_layers` crossed."""
        state = self.embedding(inputs, training=training)
        return state if self.cross is None else self.cross(state)

    def logits(self, state: Any, training: bool = False) -> Any:
        """State [N, F * D] -> logits [N, K]; the sigmoid of a logit is the task's probability."""
        raise NotImplementedError(f"{type(self).__name__} must define logits(state, training)")

    def build(self, input_shape: Any = None) -> None:
        if not self.embedding.built:
            self.embedding.build()
        if self.cross is not None and not self.cross.built:
            self.cross.build((None, self.embedding.state_width))
        # One row through the model makes every variable, so that a subclass need not repeat its shapes.
        with tf.init_scope():
            self.logits(tf.zeros((1, self.state_width), self.compute_dtype), training=False)

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> Any:
        """Inputs {name: [N]} -> logits [N, K], tasks in schema order."""
        return self.logits(self.state(inputs, training=training), training=training)

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> tuple[int | None, int]:
        return (next(iter(input_shape.values()))[0], len(self.tasks))

    def get_config(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in self.SETTINGS}
        own = {
            "spec": self.spec.get_config(),
            "tasks": [asdict(task) for task in self.tasks],
            "seed": self.seed,
        }
        return {**super().get_config(), **own, **settings}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Backbone:
        tasks = [Task(**task) for task in config["tasks"]]
        return cls(**{**config, "spec": InputSpec.from_config(config["spec"]), "tasks": tasks})
