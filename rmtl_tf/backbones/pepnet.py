"""PEPNet: Parameter and Embedding Personalized Network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import Dropout, GateNU
from rmtl_tf.layers.seeds import derive_seed
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class PEPNet(Backbone):
    """One embedding scaled by its context (EPNet), a tower per task scaled by who and what (PPNet).

    EPNet: O_ep = delta * E, delta = GateNU([E(domain), stop(E)]). PPNet: the hidden units of layer l of
    task k's tower are H = relu(O W + b) and O' = delta * H, delta = GateNU([E(prior), stop(O_ep)]); O_ep
    enters the first layer, and the last layer, of width 1, has no gate. No gradient flows through
    stop(.), so that no gate moves the embeddings it only reads; priors do learn through the gates.

    In the paper's formula, O_pp^l = delta^l * H^l, H^(l+1) = f(O_pp^l W^l + b^l), the H are read here as the
    hidden units, which is what its abstract says PPNet scales; so does PEPNet in TorchEasyRec. Read as the
    layers' inputs, O_ep would be scaled once more by every task, as in FuxiCTR's PPNet: not done here.

    The paper's domain features (scenario id and its statistics) are here all fields that are no id: the
    context inputs and the numeric field. Its personal prior (user, item, author) is `spec.ids`. Every
    task and layer has a Gate NU of its own, as wide as what it scales. With `cross_layers` the fields are
    those of the crossed state.

    Args:
        spec: as in `Backbone`; `ids` must name a user or an item input.
        tasks: as in `Backbone`.
        bottom: units of the first layers of each task's tower, `tower` of the last. Default (512, 256).
        **kwargs: as in `Backbone`.

    Raises:
        UserError: `spec.ids` is empty.

    References:
        Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with
        Personalized Prior Information", KDD 2023, arXiv 2302.01115. Its formulas as quoted in secondary
        text; the place of the gates compared with the public code named above.
    """

    SETTINGS = (*Backbone.SETTINGS, "bottom")

    def __init__(
        self, spec: InputSpec, tasks: Sequence[Task], *, bottom: Sequence[int] = (512, 256), **kwargs: Any
    ) -> None:
        super().__init__(spec, tasks, **kwargs)
        if not spec.ids:
            raise UserError(
                "PEPNet: expected a user or item id among the inputs, received none. Mark one in the data "
                "schema or choose another model.backbone."
            )
        self.bottom = tuple(bottom)
        names = [name for name, _ in spec.categorical]
        self._prior = [i for i, name in enumerate(names) if name in spec.ids]
        self._domain = [i for i in range(self.embedding.fields) if i not in self._prior]
        self.epnet = GateNU(
            self.embedding.state_width, self.part_seed("epnet"), dtype=self.dtype_policy, name="epnet"
        )
        self.towers = [
            PersonalTower(
                (*self.bottom, *self.tower),
                self.dropout,
                self.part_seed("tower", k),
                dtype=self.dtype_policy,
                name=f"tower_{k}",
            )
            for k in range(len(tasks))
        ]

    def logits(self, state: Any, training: bool = False) -> Any:
        ops = keras.ops
        scaled = self.epnet(self._beside(state, self._domain, state)) * state  # O_ep, (N, F * D)
        prior = self._beside(state, self._prior, scaled)
        return ops.concatenate([tower([scaled, prior], training=training) for tower in self.towers], axis=1)

    def _beside(self, state: Any, fields: Sequence[int], context: Any) -> Any:
        """[the fields of the state, stop(context)], what a gate reads."""
        # Split, not sliced: the gradient of each slice would be as large as the state.
        parts = tf.split(state, self.embedding.fields, axis=1)
        return keras.ops.concatenate([*(parts[i] for i in fields), tf.stop_gradient(context)], axis=1)


@keras.saving.register_keras_serializable(package="rmtl_tf")
class PersonalTower(keras.layers.Layer):
    """PPNet's tower of one task: an MLP whose hidden units are scaled by a `GateNU` of the prior.

    Args:
        widths: units of the hidden layers.
        dropout: share of each hidden layer's outputs zeroed in training.
        seed: of the initial weights and of dropout.
    """

    def __init__(self, widths: Sequence[int], dropout: float = 0.0, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.dropout = dropout
        self.seed = seed
        layers = range(len(self.widths))
        self.dense = [self._dense(self.widths[i], f"dense_{i}", "relu") for i in layers]
        self.gates = [
            GateNU(self.widths[i], derive_seed(seed, "gate", i), dtype=self.dtype_policy, name=f"gate_{i}")
            for i in layers
        ]
        self.drop = [
            Dropout(dropout, seed=derive_seed(seed, "dropout", i), dtype=self.dtype_policy) for i in layers
        ]
        self.last = self._dense(1, "output", None)

    def _dense(self, units: int, name: str, activation: str | None) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            activation=activation,
            kernel_initializer=keras.initializers.GlorotUniform(seed=derive_seed(self.seed, name)),
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        first, prior = (shape[-1] for shape in input_shape)
        widths: tuple[int | None, ...] = (first, *self.widths, 1)
        for dense, (width, _) in zip([*self.dense, self.last], pairwise(widths), strict=True):
            dense.build((None, width))
        for gate in self.gates:
            gate.build((None, prior))

    def call(self, inputs: Sequence[Any], training: bool = False) -> Any:
        """[O_ep [N, F * D], what the gates read [N, P]] -> logit [N, 1]."""
        x, prior = inputs
        for dense, gate, drop in zip(self.dense, self.gates, self.drop, strict=True):
            x = drop(gate(prior) * dense(x), training=training)
        return self.last(x)

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[int | None, int]:
        return (input_shape[0][0], 1)

    def get_config(self) -> dict[str, Any]:
        own = {"widths": self.widths, "dropout": self.dropout, "seed": self.seed}
        return {**super().get_config(), **own}
