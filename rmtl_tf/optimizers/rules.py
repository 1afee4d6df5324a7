"""Row-sparse rules: what one step does to the rows of an embedding table that the batch read.

A rule is a class with `SLOTS` (what is kept beside a table [R, D]) and `step`. All change the touched rows
alone, and their decoupled weight decay reaches touched rows alone, except `exact_adam.ExactAdam`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import tensorflow as tf

from rmtl_tf.optimizers.slices import SummedSlices
from rmtl_tf.optimizers.tables import Kernel, staged, write_rows


class Slot(NamedTuple):
    """What a rule keeps: `element`, [R, D], or `row`, [R]."""

    per: Literal["element", "row"]
    start: float = 0.0
    dtype: str | None = None  # the table's


@dataclass(frozen=True)
class Hyper:
    """What all rules are made from; each reads its own."""

    learning_rate: float
    weight_decay: float
    beta_1: float
    beta_2: float
    epsilon: float


class Rule:
    """Base of the rules."""

    SLOTS: ClassVar[dict[str, Slot]]
    MOVES_UNTOUCHED: ClassVar[bool] = False

    def __init__(self, hyper: Hyper) -> None:
        self.hyper = hyper

    def step(
        self,
        table: tf.Variable,
        slots: dict[str, tf.Variable],
        gradient: SummedSlices,
        learning_rate: Any,
        iterations: Any,
    ) -> None:
        """Changes table and slots in place.

        Args:
            learning_rate: of this step, scalar.
            iterations: steps before this one, scalar.
        """
        raise NotImplementedError


class LazyAdam(Rule):
    """Adam on touched rows; the moments of the others stay as they are, and they do not move.

    Source: Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1, on the rows of
    non-zero gradient (`LazyAdam` of TensorFlow Addons, `SparseAdam` of PyTorch); bias corrections are of all
    steps.
    """

    SLOTS: ClassVar[dict[str, Slot]] = {"momentum": Slot("element"), "velocity": Slot("element")}

    def step(
        self,
        table: tf.Variable,
        slots: dict[str, tf.Variable],
        gradient: SummedSlices,
        learning_rate: Any,
        iterations: Any,
    ) -> None:
        kernel = adam_kernel(gradient.values, learning_rate, iterations, self.hyper)
        variables = [table, slots["momentum"], slots["velocity"]]
        staged(variables, gradient.indices, kernel, decayed(learning_rate, self.hyper))


# A share of a float32 below this is less than half of what it can change by: w - share * w = w, to the bit.
LEAST_SHARE = 2.0**-25


def decayed(learning_rate: Any, hyper: Hyper) -> Callable[..., list[tf.Tensor]] | None:
    """Takes the weight decay of one step off the rows staged first, a table's; None if there is none."""
    if not hyper.weight_decay:
        return None
    share = learning_rate * hyper.weight_decay

    def prepare(w: tf.Tensor, *slots: tf.Tensor) -> list[tf.Tensor]:
        return [tf.cond(share < LEAST_SHARE, lambda: w, lambda: w - w * share), *slots]

    return prepare


def adam_kernel(gradient: tf.Tensor, learning_rate: Any, iterations: Any, hyper: Hyper) -> Kernel:
    """Keras' Adam, for a variable and its two moments."""
    step = tf.cast(iterations + 1, gradient.dtype)
    power_1, power_2 = (tf.pow(tf.cast(beta, gradient.dtype), step) for beta in (hyper.beta_1, hyper.beta_2))

    def fused(handles: list[tf.Tensor]) -> None:
        tf.raw_ops.ResourceApplyAdam(
            var=handles[0],
            m=handles[1],
            v=handles[2],
            beta1_power=power_1,
            beta2_power=power_2,
            lr=learning_rate,
            beta1=hyper.beta_1,
            beta2=hyper.beta_2,
            epsilon=hyper.epsilon,
            grad=gradient,
        )

    def formula(w: tf.Tensor, m: tf.Tensor, v: tf.Tensor) -> list[tf.Tensor]:
        m += (gradient - m) * (1.0 - hyper.beta_1)
        v += (gradient**2 - v) * (1.0 - hyper.beta_2)
        rate = learning_rate * tf.sqrt(1.0 - power_2) / (1.0 - power_1)
        return [w - rate * m / (tf.sqrt(v) + hyper.epsilon), m, v]

    return Kernel(fused, formula)


class Adagrad(Rule):
    """a += g^2, w -= lr g / (sqrt(a) + eps), element by element.

    Source: Duchi, Hazan, Singer, "Adaptive Subgradient Methods", JMLR 2011, the diagonal form; a starts at
    0.1 as in Keras.
    """

    SLOTS: ClassVar[dict[str, Slot]] = {"accumulator": Slot("element", 0.1)}

    def step(
        self,
        table: tf.Variable,
        slots: dict[str, tf.Variable],
        gradient: SummedSlices,
        learning_rate: Any,
        iterations: Any,
    ) -> None:
        def fused(handles: list[tf.Tensor]) -> None:
            tf.raw_ops.ResourceApplyAdagradV2(
                var=handles[0],
                accum=handles[1],
                lr=learning_rate,
                epsilon=self.hyper.epsilon,
                grad=gradient.values,
            )

        def formula(w: tf.Tensor, a: tf.Tensor) -> list[tf.Tensor]:
            a += gradient.values**2
            return [w - learning_rate * gradient.values / (tf.sqrt(a) + self.hyper.epsilon), a]

        variables = [table, slots["accumulator"]]
        staged(variables, gradient.indices, Kernel(fused, formula), decayed(learning_rate, self.hyper))


class RowwiseAdagrad(Rule):
    """a += mean over the row of g^2, w -= lr g / (sqrt(a) + eps): one accumulator a row instead of D.

    Source: Mudigere et al., "Software-Hardware Co-design for Fast and Scalable Training of Deep Learning
    Recommendation Models", ISCA 2022, section 4.1.4 (row-wise AdaGrad); a starts at 0.
    """

    SLOTS: ClassVar[dict[str, Slot]] = {"accumulator": Slot("row")}

    def step(
        self,
        table: tf.Variable,
        slots: dict[str, tf.Variable],
        gradient: SummedSlices,
        learning_rate: Any,
        iterations: Any,
    ) -> None:
        rows, values = gradient.indices, gradient.values
        sums = tf.gather(slots["accumulator"], rows) + tf.reduce_mean(values**2, axis=1)  # [U]
        write_rows(slots["accumulator"], rows, sums)
        scale = learning_rate / (tf.sqrt(sums) + self.hyper.epsilon)
        change = values * scale[:, tf.newaxis]
        if self.hyper.weight_decay:
            change += learning_rate * self.hyper.weight_decay * tf.gather(table, rows)
        tf.raw_ops.ResourceScatterSub(resource=table.handle, indices=rows, updates=change)


class Ftrl(Rule):
    """FTRL-Proximal without L1: z += g - (sqrt(n + g^2) - sqrt(n)) / lr w, n += g^2, w = -lr z / sqrt(n).

    As w follows from z and n, a decay of w would be undone by the next step: the weight decay is the
    gradient's shrinkage instead, z += weight_decay * w.

    Source: McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1 with
    beta = lambda_1 = lambda_2 = 0; n starts at 0.1 as in Keras. z starts at -w sqrt(n) / lr, which leaves w
    where it is: algorithm 1 starts from w = 0, and its first step would wipe a table's initial values out.
    """

    SLOTS: ClassVar[dict[str, Slot]] = {"accumulator": Slot("element", 0.1), "linear": Slot("element")}

    def step(
        self,
        table: tf.Variable,
        slots: dict[str, tf.Variable],
        gradient: SummedSlices,
        learning_rate: Any,
        iterations: Any,
    ) -> None:
        def fused(handles: list[tf.Tensor]) -> None:
            tf.raw_ops.ResourceApplyFtrlV2(
                var=handles[0],
                accum=handles[1],
                linear=handles[2],
                grad=gradient.values,
                lr=learning_rate,
                l1=0.0,
                l2=0.0,
                l2_shrinkage=self.hyper.weight_decay / 2.0,
                lr_power=-0.5,
            )

        def formula(w: tf.Tensor, n: tf.Tensor, z: tf.Tensor) -> list[tf.Tensor]:
            shrunk = gradient.values + self.hyper.weight_decay * w
            sums = n + gradient.values**2
            z += shrunk - (tf.sqrt(sums) - tf.sqrt(n)) / learning_rate * w
            return [-learning_rate * z / tf.sqrt(sums), sums, z]

        def consistent(w: tf.Tensor, n: tf.Tensor, z: tf.Tensor) -> list[tf.Tensor]:
            untouched = n == tf.constant(self.SLOTS["accumulator"].start, n.dtype)
            return [w, n, tf.where(untouched, -w * tf.sqrt(n) / learning_rate, z)]

        variables = [table, slots["accumulator"], slots["linear"]]
        staged(variables, gradient.indices, Kernel(fused, formula), consistent)
