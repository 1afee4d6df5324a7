"""What dense Adam would have done to a row in the steps that skipped it, in closed form."""

from __future__ import annotations

from math import comb

import numpy as np
import tensorflow as tf

_ORDER = 3
_NEGLIGIBLE = 1e-10  # of a bias correction that is as good as 1
_TOLERANCE = 1e-7  # of the movement


class SkippedAdam:
    """Rows of a table and their moments, n steps without a gradient later.

    Where the gradient is 0, dense Adam still moves a row: after step s, with m, v, w as step s left them,

        m_{s+i} = b1^i m,   v_{s+i} = b2^i v,
        w_{s+i} = d w_{s+i-1} - lr B(s+i) m_{s+i} / (sqrt(v_{s+i}) + eps),
        B(t) = sqrt(1 - b2^t) / (1 - b1^t),   d = 1 - lr * weight decay

    so that w_{s+n} = d^n w - lr m sum_i d^{n-i} B(s+i) b1^i / (r_i x + eps) with x = sqrt(v), r_i = b2^{i/2}.
    While b1^i goes to 0, r_i hardly leaves 1: with u = x / (r x + eps) and r the mean of r_i under b1^i, the
    fraction is the series

        1 / (r_i x + eps) = 1 / (r x + eps) sum_k (-u)^k (r_i - r)^k

    of which the terms up to k = 3 leave a relative error of the order of 1e-8. The sums over i are numbers,
    the same for all elements of a row:

        sum_{i=1..n} d^{n-i} B(s+i) b1^i r_i^k = d^n (F_k(s) - q_k^n F_k(s+n)),
        F_k(s) = sum_{i>=1} B(s+i) q_k^i = q_k (B(s+1) + F_k(s+1)),   q_k = b1 b2^{k/2} / d

    F_k is a table over s, as long as B changes (23,000 steps with b2 = 0.999).

    Source: Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1, with the order
    of operations of Keras and the decay of Loshchilov, Hutter, ICLR 2019; the sums are ours.

    Args:
        learning_rate: constant: F_k looks ahead.
        weight_decay: decoupled.

    Raises:
        ValueError: with these betas the series does not reach 1e-7.
    """

    def __init__(
        self, learning_rate: float, weight_decay: float, beta_1: float, beta_2: float, epsilon: float
    ) -> None:
        self.learning_rate, self.decay = learning_rate, 1.0 - learning_rate * weight_decay
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.center = (1.0 - beta_1) * beta_2**0.5 / (1.0 - beta_1 * beta_2**0.5)
        powers = np.arange(_ORDER + 1)
        self.ratios = beta_1 * beta_2 ** (powers / 2.0) / self.decay  # q_k
        error = self._remainder()
        if not error < _TOLERANCE or not self.ratios[0] < 1.0:
            raise ValueError(
                f"`beta_1` = {beta_1}, `beta_2` = {beta_2}: expected a first moment that forgets much faster "
                "than the second, as 0.9 and 0.999; skipped steps of others have no closed form here. Choose "
                "those, or the rule adam_lazy."
            )
        self.sums = self._sums()  # [S, k]
        # Row l of column k: the part of (r_i - r)^k that is r_i^l.
        self.binomial = np.array(
            [
                [comb(k, part) * (-self.center) ** (k - part) if part <= k else 0.0 for k in powers]
                for part in powers
            ]
        )

    def _remainder(self) -> float:
        """Bound of the relative error: the first term left out, at the largest u."""
        i = np.arange(1, int(np.ceil(np.log(1e-16) / np.log(self.beta_1))) + 1)
        weight = self.beta_1**i
        away = np.abs(self.beta_2 ** (i / 2.0) / self.center - 1.0)
        return float((weight * away ** (_ORDER + 1)).sum() / weight.sum())

    def _sums(self) -> np.ndarray:
        count = int(np.ceil(np.log(_NEGLIGIBLE) / np.log(self.beta_2)))
        step = np.arange(1, count + 1, dtype=np.float64)
        correction = np.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)  # B(1), B(2), ...
        sums = np.empty((count, _ORDER + 1))
        following = self.ratios / (1.0 - self.ratios)  # B = 1 from here on
        for s in range(count - 1, -1, -1):
            following = self.ratios * (correction[s] + following)
            sums[s] = following
        return sums

    def __call__(
        self, w: tf.Tensor, m: tf.Tensor, v: tf.Tensor, last: tf.Tensor, now: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """w, m, v [U, D] as they were after step `last` [U] -> after step `now`, not touched since."""
        last, now = tf.cast(last, tf.int32), tf.cast(now, tf.int32)
        steps = tf.cast(now - last, tf.float64)[:, tf.newaxis]  # [U, 1]
        end = len(self.sums) - 1
        begin, finish = (tf.gather(tf.constant(self.sums), tf.minimum(at, end)) for at in (last, now))
        raw = begin - tf.exp(steps * np.log(self.ratios)) * finish  # [U, k]
        decay = tf.exp(steps * np.log(self.decay))
        central = tf.cast(self.learning_rate * decay * tf.matmul(raw, self.binomial), w.dtype)
        x = tf.sqrt(v)
        inverse = 1.0 / (self.center * x + self.epsilon)
        u = x * inverse
        series = central[:, _ORDER:]
        for k in reversed(range(_ORDER)):
            series = central[:, k : k + 1] - u * series
        forget = (tf.cast(tf.exp(steps * np.log(beta)), w.dtype) for beta in (self.beta_1, self.beta_2))
        first, second = forget
        return w * tf.cast(decay, w.dtype) - m * inverse * series, m * first, v * second
