"""FAMO: all tasks' log-losses fall at one rate, for the price of one loss."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from rmtl_tf.weighting.base import State, TaskLevel

_SMALLEST = 1e-8


@dataclass(frozen=True)
class FAMO(TaskLevel):
    """omega_k = K c z_k / L_k, z = softmax(xi), c = 1 / sum_j (z_j / L_j): the step's weights on L sum to 1.

    After a step the logits move against the tasks that improved most:
    xi <- xi - rate * (J (log L_t - log L_{t+1}) + decay * xi), J the Jacobian of the softmax. The authors'
    code takes L_{t+1} from the same batch once more, moves xi by Adam and clips the shared gradient; here
    L_{t+1} is the loss of the next batch, which needs no second forward pass but carries the noise of the
    batches, and xi moves by plain gradient steps, as in the paper's algorithm. Losses are at least 1e-8 (the
    paper adds 1e-8 to them).

    Args:
        rate: step of xi, beta. Default 0.025, of the authors' code.
        decay: weight decay of xi, gamma. Default 0.001 (the authors' code has 0.01 and 0.00001).

    References:
        Liu, Feng, Stone, Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023: algorithm 1,
        equations 10 (xi), 11 (the step's weights) and 12 (decay).
    """

    rate: float = 0.025
    decay: float = 1e-3

    def init(self, num_tasks: int) -> State:
        """Logits xi, log-losses of the batch before, number of batches."""
        return (tf.zeros(num_tasks), tf.zeros(num_tasks), tf.zeros((), tf.int64))

    def task_weights(self, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        logits, before, batches = state
        losses = tf.maximum(losses, _SMALLEST)
        log_losses = tf.math.log(losses)
        improved = before - log_losses
        z = tf.nn.softmax(logits)
        gradient = z * (improved - tf.reduce_sum(z * improved))
        moved = logits - self.rate * (gradient + self.decay * logits)
        logits = tf.where(batches > 0, moved, logits)
        share = tf.nn.softmax(logits) / losses
        weights = tf.cast(tf.size(losses), losses.dtype) * share / tf.reduce_sum(share)
        return weights, (logits, log_losses, batches + 1)
