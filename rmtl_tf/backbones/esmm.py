"""ESMM: Entire Space Multi-Task Model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.backbones.parents import parents_of
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class ESMM(Backbone):
    """Shared embedding, a network per task, and products along the funnel: pCTCVR = pCTR * pCVR.

    A task's network gives the probability of the task given its parent; the result is the logit of
    the product of these along the chain of parents. A task without a parent is its own network. The loss
    is the agent's: the cross-entropies of the products, over all records; a conditional probability has
    none of its own.

    Args:
        spec: as in `Backbone`.
        tasks: as in `Backbone`; a parent must stand before its children.
        bottom: units of the first layers of each task's network, `tower` of the last. Default (512, 256).
        **kwargs: as in `Backbone`.

    Raises:
        UserError: a task's parent does not stand before it.

    References:
        Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click
        Conversion Rate", SIGIR 2018, arXiv 1804.07931: equation 1 (the product), equation 3 (the loss).
    """

    SETTINGS = (*Backbone.SETTINGS, "bottom")
    NEEDS_PARENT: ClassVar[bool] = False  # whether tasks without any parent are refused

    def __init__(
        self, spec: InputSpec, tasks: Sequence[Task], *, bottom: Sequence[int] = (512, 256), **kwargs: Any
    ) -> None:
        super().__init__(spec, tasks, **kwargs)
        self.parents = parents_of(type(self).__name__, tasks, needed=self.NEEDS_PARENT)
        self.bottom = tuple(bottom)
        self.bottoms = self.make_bottoms(bottom)
        self.towers = self.make_towers()

    def logits(self, state: Any, training: bool = False) -> Any:
        return self.chain(self.conditional_logits(state, training=training))

    def conditional_logits(self, state: Any, training: bool = False) -> Any:
        """State [N, F * D] -> logits [N, K] of every task given its parent."""
        return self.towers([bottom(state, training=training) for bottom in self.bottoms], training=training)

    def chain(self, own: Any) -> Any:
        """Logits [N, K] of the products along the funnel, from those given the parent [N, K]."""
        chained: list[Any] = []
        for k, parent in enumerate(self.parents):
            logit = own[:, k]
            chained.append(logit if parent is None else product_logit(chained[parent], logit))
        return keras.ops.stack(chained, axis=1)


def product_logit(a: Any, b: Any) -> Any:
    """The logit of sigmoid(a) * sigmoid(b), elementwise.

    1 / (sigmoid(a) sigmoid(b)) - 1 = (1 + e^-a)(1 + e^-b) - 1 = e^-a + e^-b + e^-(a+b), hence
    logit = -logsumexp(-a, -b, -a - b): no cancellation where the product is near 1, no underflow
    where it is near 0, and a gradient that is a softmax, finite for every finite a and b.
    """
    return -keras.ops.logsumexp(keras.ops.stack([-a, -b, -a - b], axis=-1), axis=-1)
