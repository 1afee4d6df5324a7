"""IMTL-G: a step on which every task's gradient has the same projection."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State
from rmtl_tf.weighting.gradient_method import GradientMethod

_SMALLEST_EIGENVALUE = 1e-6


@dataclass(frozen=True)
class IMTLG(GradientMethod):
    """w with sum w = 1 such that g = sum_k w_k g_k has the same inner product with all unit gradients u_k.

    With C the cosines u_i . u_j, g = sum_k b_k u_k has the inner products C b, so w_k = b_k / |g_k| with
    C b = 1, scaled to sum 1: the paper's closed form, written without choosing a first task. Eigenvalues of
    C are kept above 1e-6: equal gradients get their mean, opposite ones cancel. Tasks whose gradient is 0
    are left out. Weights may be negative, as in the paper. Where they sum to less than 0 before scaling, the
    paper's constraint turns the step uphill for every task: there, and where all gradients are 0, all
    weights are 1 / K.

    References:
        Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang, "Towards Impartial Multi-task Learning", ICLR 2021.
        Closed form read in LibMTL (weighting/IMTL.py). The paper's other half, IMTL-L, is not built.
    """

    def combine(self, gram: tf.Tensor, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        gram = tf.cast(gram, tf.float64)
        norms = tf.sqrt(tf.linalg.diag_part(gram))
        present = norms > 0
        inverse = tf.where(present, 1.0 / tf.where(present, norms, 1.0), 0.0)
        cosines = gram * inverse[:, tf.newaxis] * inverse
        values, vectors = tf.linalg.eigh(tf.linalg.set_diag(cosines, tf.ones_like(norms)))
        values = tf.maximum(values, _SMALLEST_EIGENVALUE)
        ones = tf.cast(present, gram.dtype)
        solution = tf.linalg.matvec(vectors, tf.linalg.matvec(vectors, ones, transpose_a=True) / values)
        weights = solution * inverse
        # Divided by the largest first: the test below does not depend on the scale of the gradients.
        weights = tf.math.divide_no_nan(weights, tf.reduce_max(tf.abs(weights)))
        total = tf.reduce_sum(weights)
        usable = total > _SMALLEST_EIGENVALUE
        even = tf.fill(tf.shape(weights), tf.constant(1.0 / gram.shape[0], gram.dtype))
        weights = tf.where(usable, weights / tf.where(usable, total, 1.0), even)
        return tf.cast(weights, tf.float32), state
