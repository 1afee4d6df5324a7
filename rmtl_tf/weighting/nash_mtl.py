"""Nash-MTL: the step on which tasks that bargain would agree."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State
from rmtl_tf.weighting.gradient_method import GradientMethod

# Added to the square norms, as a share of them: gradients that cancel have no bargain, and their weights stay
# below 1 / sqrt of this, times those of the tasks alone. Rounding of a float32 Gram matrix is a tenth of it.
_RIDGE = 1e-6
_STEPS = 100
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class NashMTL(GradientMethod):
    """d = sum_k a_k g_k with a > 0 and g_k . d = 1 / a_k: the Nash bargaining solution, which maximises
    sum_k log(g_k . d) over directions d of bounded length.

    With G_ij = g_i . g_j that is G a = 1 / a (eq. 3 of the paper). The paper calls it non-convex and solves
    it by a sequence of convex problems (CCP) with a general solver, 20 at most. But 1 / a is the slope of
    sum log a, so G a - 1 / a is the slope of F(a) = a . G a / 2 - sum log a. F is strictly convex and
    self-concordant, hence a is its one minimum, and damped Newton steps reach it from anywhere: the same
    solution, exact and without a solver. As in the published code, G is divided by its Frobenius norm first,
    and `update_every` keeps a for some batches.

    The paper sums the gradients: weights are a / K on the scale of the mean. A task whose gradient is 0 takes
    no part and has the weight 1 / K.

    Args:
        update_every: batches between solutions; G of the batches between is not looked at. Default 1.
        max_norm: largest |d|; longer ones are shortened. Default 1, the published code's; None: no limit.

    References:
        Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022; normalisation, `max_norm` and
        `update_every` read in the published code.
    """

    update_every: int = 1
    max_norm: float | None = 1.0

    def init(self, num_tasks: int) -> State:
        """Batches so far, and the a [K] in use."""
        return (tf.zeros((), tf.int64), tf.ones(num_tasks))

    def combine(self, gram: tf.Tensor, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        batches, current = state
        gram = tf.cast(gram, tf.float64)
        solved = tf.cond(
            batches % self.update_every == 0,
            lambda: tf.cast(nash_bargain(gram), tf.float32),
            lambda: current,
        )
        weights = tf.cast(solved, tf.float64)
        if self.max_norm is not None:
            square = tf.tensordot(weights, tf.linalg.matvec(gram, weights), 1)
            length = tf.sqrt(tf.maximum(square, 0.0))
            weights *= tf.where(length > self.max_norm, tf.math.divide_no_nan(self.max_norm, length), 1.0)
        return tf.cast(weights / gram.shape[0], tf.float32), (batches + 1, solved)


def nash_bargain(gram: tf.Tensor) -> tf.Tensor:
    """The a > 0 with (G / |G|_F) a = 1 / a, [K] float64; 1 for a task whose gradient is 0.

    A Newton step in the scale of a itself: with D = diag(a) it is a z, (D G D + I) z = 1 - D G a. The matrix
    has no eigenvalue below 1 however large a is. The decrement l, l^2 = z . (1 - D G a), bounds every |z_k|,
    so a step of 1 / (1 + l) keeps a above 0 and always lowers F; near the end whole steps converge
    quadratically (Nesterov, Nemirovskii, "Interior-Point Polynomial Algorithms", 1994).

    Args:
        gram: G [K, K] float64, positive semi-definite up to rounding; K static.
    """
    gram = tf.math.divide_no_nan(gram, tf.norm(gram))
    squares = tf.linalg.diag_part(gram)
    gram = tf.linalg.set_diag(gram, tf.where(squares > 0, (1.0 + _RIDGE) * squares, 1.0))
    identity = tf.eye(gram.shape[0], dtype=gram.dtype)

    def newton(a: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        slope = 1.0 - a * tf.linalg.matvec(gram, a)
        matrix = a[:, tf.newaxis] * gram * a + identity
        step = tf.linalg.solve(matrix, slope[:, tf.newaxis])[:, 0]
        return step, tf.sqrt(tf.maximum(tf.tensordot(step, slope, 1), 0.0))

    def unfinished(a: tf.Tensor, decrement: tf.Tensor) -> tf.Tensor:
        return decrement > _TOLERANCE

    def improve(a: tf.Tensor, decrement: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        step, decrement = newton(a)
        whole = decrement < 0.25
        return a * (1.0 + tf.where(whole, step, step / (1.0 + decrement))), decrement

    # Alone, every task has a_k = 1 / |g_k|.
    start = tf.math.rsqrt(tf.linalg.diag_part(gram))
    infinite = tf.constant(float("inf"), gram.dtype)
    a, _ = tf.while_loop(unfinished, improve, (start, infinite), maximum_iterations=_STEPS)
    return a
