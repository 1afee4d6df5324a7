"""AITM: Adaptive Information Transfer Multi-task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.backbones.parents import parents_of
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import MLP
from rmtl_tf.layers.seeds import derive_seed
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class AITM(Backbone):
    """Networks per task on a shared embedding; each step of the funnel passes information to the next.

        q_k = f_k(x);  z_k = q_k for the first step, else AIT(p, q_k) with p = g_k(z_parent);  y_k = h_k(z_k)

    g_k is one dense layer with ReLU and dropout. The attention (`AdaptiveTransfer`) is the same for all
    tasks, as in the authors' code. The paper has one chain; here it is the tree of `Task.parent`, so
    that two tasks may follow the same one. With one task nothing is passed.

    The behavioural expectation calibrator teaches that a child is no likelier than its parent: the loss is
    L_ce + alpha L_lc, L_lc the mean over records of sum_k max(p_k - p_parent(k), 0), through both of which
    gradients flow. With alpha 0 or one task there is no such term, and no `logits_and_loss`: gradient
    methods, which refuse a backbone with a loss of its own, then accept this one.

    In the authors' code h_k is one linear layer and batch normalisation an option; here h_k is a tower as in
    all backbones, and nothing is normalised.

    Args:
        spec: as in `Backbone`.
        tasks: as in `Backbone`; a parent must stand before its children.
        bottom: units of each task's f; the last is the width of what is passed on. Default (512, 256).
        calibrator_weight: alpha. Default 0.6, the paper's.
        tower: units of the hidden layers of each task's h. Default (128, 64).
        **kwargs: as in `Backbone`.

    Raises:
        UserError: a parent does not stand before its child, or no task of several has a parent.

    References:
        Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions with
        Multi-task Learning in Targeted Display Advertising", KDD 2021, arXiv 2105.08489. Equations read in
        the authors' code, github.com/xidongbo/AITM (AITM.py; AITM_standard.py for more than two tasks).
    """

    SETTINGS = (*Backbone.SETTINGS, "bottom", "calibrator_weight")

    def __init__(
        self,
        spec: InputSpec,
        tasks: Sequence[Task],
        *,
        bottom: Sequence[int] = (512, 256),
        calibrator_weight: float = 0.6,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, tasks, **kwargs)
        self.parents = parents_of("AITM", tasks, needed=len(tasks) > 1)
        self.bottom = tuple(bottom)
        self.calibrator_weight = calibrator_weight
        self.bottoms = [self._mlp(f"bottom_{k}", self.bottom) for k in range(len(tasks))]
        width = self.bottom[-1] if self.bottom else self.embedding.state_width
        self.transfers = {
            str(k): self._mlp(f"transfer_{k}", (width,))
            for k, parent in enumerate(self.parents)
            if parent is not None
        }
        self.attention = None
        if self.transfers:
            self.attention = AdaptiveTransfer(
                width, self.part_seed("attention"), dtype=self.dtype_policy, name="attention"
            )
        self.towers = self.make_towers()

    def _mlp(self, name: str, widths: Sequence[int]) -> MLP:
        return MLP(widths, self.dropout, seed=self.part_seed(name), dtype=self.dtype_policy, name=name)

    def logits(self, state: Any, training: bool = False) -> Any:
        states: list[Any] = []
        for k, parent in enumerate(self.parents):
            own = self.bottoms[k](state, training=training)  # q, (N, W)
            if parent is not None and self.attention is not None:
                passed = self.transfers[str(k)](states[parent], training=training)  # p, (N, W)
                own = self.attention(keras.ops.stack([passed, own], axis=1))
            states.append(own)
        return self.towers(states, training=training)

    @property
    def logits_and_loss(self) -> Callable[..., tuple[Any, Any]]:
        """`calibrated`, where there is something to calibrate; else no attribute: no loss of its own."""
        if not self.calibrator_weight or not self.transfers:
            raise AttributeError("AITM: no calibrator, with calibrator_weight 0 or no task that has a parent")
        return self.calibrated

    def calibrated(
        self, inputs: Mapping[str, Any], labels: Any, mask: Any, training: bool = True
    ) -> tuple[Any, Any]:
        """Logits [N, K] of `inputs` {name: [N]}, and alpha times the calibrator's loss, a scalar.

        Args:
            labels: not read.
            mask: [N], 1 for the records that count.
        """
        logits = self(inputs, training=training)
        probabilities = tf.sigmoid(tf.cast(logits, tf.float32))
        excess = [
            tf.nn.relu(probabilities[:, k] - probabilities[:, parent])
            for k, parent in enumerate(self.parents)
            if parent is not None
        ]
        return logits, self.calibrator_weight * self.own_loss(tf.stack(excess, axis=1), mask)


@keras.saving.register_keras_serializable(package="rmtl_tf")
class AdaptiveTransfer(keras.layers.Layer):
    """The AIT module: how much of what was passed on, and how much of the task's own.

        z = sum_u w_u h_1(u),  w = softmax_u(<h_2(u), h_3(u)> / sqrt(W)),  u in {p, q}

    h_1, h_2 and h_3 are linear maps without bias, as in the authors' code, whose initial weights are
    N(0, 0.01^2) however.

    Args:
        width: W, of p, q and z.
        seed: of the initial weights (Glorot uniform).

    References:
        Xi et al., KDD 2021, the AIT module.
    """

    def __init__(self, width: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.seed = seed
        self.value, self.query, self.key = (
            keras.layers.Dense(
                width,
                use_bias=False,
                kernel_initializer=keras.initializers.GlorotUniform(seed=derive_seed(seed, name)),
                dtype=self.dtype_policy,
                name=name,
            )
            for name in ("value", "query", "key")
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for dense in (self.value, self.query, self.key):
            dense.build(input_shape)

    def call(self, x: Any) -> Any:
        """[N, 2, W], p and q -> [N, W]."""
        ops = keras.ops
        scores = ops.sum(self.query(x) * self.key(x), axis=-1) / math.sqrt(self.width)  # (N, 2)
        weights = ops.softmax(scores, axis=-1)
        return ops.sum(ops.expand_dims(weights, -1) * self.value(x), axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        return (input_shape[0], self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "seed": self.seed}
