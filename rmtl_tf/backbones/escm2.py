"""ESCM2: Entire Space Counterfactual Multi-Task Model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from rmtl_tf.backbones.esmm import ESMM
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import MLP, Towers
from rmtl_tf.schema import Task

MAX_WEIGHT = 15.0  # of 1 / propensity, as in the public implementation (PaddleRec)


class ESCM2(ESMM):
    """ESMM whose conditional tasks also learn from a counterfactual risk; base of the two variants.

    Forward it is ESMM: a network gives a task given its parent (CVR), a product along the funnel the
    task itself (CTCVR). ESMM never teaches CVR by itself, and its CVR estimates are biased. The paper's
    loss is L_CTR + lambda_c R_CVR + lambda_g L_CTCVR: the cross-entropies the agent computes anyway (and
    weights: lambda_g is 1, the public implementation's, unless a weighting says otherwise), and for every
    task with a parent a risk of its CVR over all records, from those where the parent happened: o is the
    parent's label, o^ its predicted probability (the propensity; along a chain, that of the product), e the
    cross-entropy of the task's label under its CVR, w = o / o^, at most 15. No gradient flows through w, or
    the loss could be lowered by a wrong propensity. K tasks instead of the paper's two: one risk a parent
    and child. The paper's networks are gated experts (MMoE), any would do; here they are those of `ESMM`.

    The public implementation (PaddleRec) is otherwise in three points: it divides the weight of IPS by the
    square of the batch's clicks; in DR it does not cap w, and gradients do flow through it.

    Args:
        spec: as in `Backbone`.
        tasks: as in `ESMM`; at least one has a parent, so one task alone is refused.
        counterfactual_weight: lambda_c. Default 0.01, as in the public implementation.
        **kwargs: as in `ESMM`.

    Raises:
        UserError: no task has a parent, or a parent does not stand before its child.

    References:
        Wang et al., "ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate
        Estimation", SIGIR 2022, arXiv 2204.05125, section 4 (counterfactual risk regularizer). Formulas as
        quoted in notes on the paper, constants as in PaddleRec, models/multitask/escm2.
    """

    SETTINGS = (*ESMM.SETTINGS, "counterfactual_weight")
    NEEDS_PARENT = True

    def __init__(
        self, spec: InputSpec, tasks: Sequence[Task], *, counterfactual_weight: float = 0.01, **kwargs: Any
    ) -> None:
        super().__init__(spec, tasks, **kwargs)
        self.counterfactual_weight = counterfactual_weight
        self.children = [k for k, parent in enumerate(self.parents) if parent is not None]

    def logits_and_loss(
        self, inputs: Mapping[str, Any], labels: Any, mask: Any, training: bool = True
    ) -> tuple[Any, Any]:
        """Logits [N, K] of `inputs` {name: [N]}, and lambda_c times the counterfactual risks, a scalar.

        Args:
            labels: [N, K], 0 or 1.
            mask: [N], 1 for the records that count.
        """
        state = self.state(inputs, training=training)
        own = self.conditional_logits(state, training=training)
        logits = self.chain(own)
        weights, errors = [], []
        for k in self.children:
            observed = labels[:, self.parents[k]]
            propensity = tf.cast(tf.sigmoid(logits[:, self.parents[k]]), tf.float32)
            weights.append(observed / tf.maximum(propensity, 1 / MAX_WEIGHT))
            errors.append(
                tf.nn.sigmoid_cross_entropy_with_logits(labels[:, k], tf.cast(own[:, k], tf.float32))
            )
        weight = tf.stop_gradient(tf.stack(weights, axis=1))
        risks = self.risks(state, tf.stack(errors, axis=1), weight, training)
        return logits, self.counterfactual_weight * self.own_loss(risks, mask)

    def risks(self, state: Any, errors: Any, weights: Any, training: bool) -> Any:
        """The risk of every record and child, [N, C], from e and w, [N, C] each; state [N, F * D]."""
        raise NotImplementedError(
            f"{type(self).__name__} must define risks(state, errors, weights, training)"
        )


@keras.saving.register_keras_serializable(package="rmtl_tf")
class ESCM2IPS(ESCM2):
    """ESCM2 with inverse propensity scores: the risk is w e (see `ESCM2`).

    Unbiased where the propensity is right; its variance is large where the parent is rare.
    """

    def risks(self, state: Any, errors: Any, weights: Any, training: bool) -> Any:
        return weights * errors


@keras.saving.register_keras_serializable(package="rmtl_tf")
class ESCM2DR(ESCM2):
    """ESCM2, doubly robust: the risk is e^ + w (e - e^) + w (e - e^)^2 (see `ESCM2`).

    The first two terms are the paper's L_DR^error, unbiased where the propensity or the imputation is right;
    the last is its L_DR^imp, which teaches e^, the error a third network imputes. As in the public
    implementation both terms reach both networks. The third has the sizes of the others; its output is a
    softplus, since a cross-entropy is not negative and may exceed 1 (the public implementation takes a
    probability). It is not used in serving.
    """

    def __init__(self, spec: InputSpec, tasks: Sequence[Task], **kwargs: Any) -> None:
        super().__init__(spec, tasks, **kwargs)
        self.imputation_bottoms = [
            MLP(
                self.bottom,
                self.dropout,
                seed=self.part_seed("imputation_bottom", k),
                dtype=self.dtype_policy,
                name=f"imputation_bottom_{k}",
            )
            for k in self.children
        ]
        self.imputation_towers = Towers(
            len(self.children),
            self.tower,
            self.dropout,
            self.part_seed("imputation_towers"),
            dtype=self.dtype_policy,
            name="imputation_towers",
        )

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        with tf.init_scope():
            self.imputed(tf.zeros((1, self.state_width), self.compute_dtype), training=False)

    def imputed(self, state: Any, training: bool = False) -> Any:
        """e^ >= 0 of every record and child, [N, C], from the state [N, F * D]."""
        hidden = [bottom(state, training=training) for bottom in self.imputation_bottoms]
        return tf.cast(tf.nn.softplus(self.imputation_towers(hidden, training=training)), tf.float32)

    def risks(self, state: Any, errors: Any, weights: Any, training: bool) -> Any:
        imputed = self.imputed(state, training=training)
        difference = errors - imputed
        return imputed + weights * difference + weights * difference**2
