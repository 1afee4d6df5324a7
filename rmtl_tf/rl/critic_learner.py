"""Phase B: the critic learns the frozen actor's value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from rmtl_tf import replicas
from rmtl_tf.optimizers.slices import sum_duplicates
from rmtl_tf.rl.critic_base import Critic
from rmtl_tf.rl.following import Following
from rmtl_tf.rl.mdp import rewards
from rmtl_tf.rl.stepped import SteppedModel
from rmtl_tf.rl.targets import critic_targets


def squared_error(error: tf.Tensor) -> tf.Tensor:
    """e^2 (paper, critic loss; METHOD 4)."""
    return error**2


def huber(error: tf.Tensor) -> tf.Tensor:
    """e^2 / 2 up to |e| = 1, |e| - 1/2 beyond (Huber, "Robust Estimation of a Location Parameter", 1964)."""
    size = tf.abs(error)
    return tf.where(size <= 1.0, 0.5 * error**2, size - 0.5)


LOSSES = {"squared": squared_error, "huber": huber}


def regress(
    critic: Critic,
    optimizer: keras.optimizers.Optimizer,
    error: Callable[[tf.Tensor], tf.Tensor],
    tasks: Sequence[str],
    batch: dict[str, Any],
    actions: tf.Tensor,
    targets: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """One step of every estimate of Q(s, a) towards targets [N, K], on the mean over records and tasks.

    Logs `loss`, `gradient_norm` (not on several replicas), `loss/<task>` (of twins the mean) and
    `q_mean/<task>`.
    """
    weight = batch["mask"][:, tf.newaxis]  # [N, 1]
    records = replicas.total(tf.reduce_sum(weight))
    with tf.GradientTape() as tape:
        estimates = critic.estimates(batch["features"], actions, training=True)
        losses = [tf.reduce_sum(weight * error(targets - q), axis=0) for q in estimates]
        total = tf.add_n(losses) / len(losses)
        per_task = tf.math.divide_no_nan(total, records)  # [K]
        loss = tf.reduce_mean(per_task)
        values = tf.add_n(estimates) / len(estimates)
    variables = critic.trainable_variables
    gradients = sum_duplicates(tape.gradient(loss, variables))
    optimizer.apply(gradients, variables)
    sums = [loss, per_task, tf.reduce_sum(weight * values, axis=0)]
    loss, per_task, values = replicas.total(sums)
    logs = {"loss": loss}
    if not replicas.several():
        logs["gradient_norm"] = tf.linalg.global_norm(gradients)
    means = tf.math.divide_no_nan(values, records)
    for k, task in enumerate(tasks):
        logs |= {f"loss/{task}": per_task[k], f"q_mean/{task}": means[k]}
    return logs


class CriticLearner(SteppedModel):
    """Learns Q with a target critic (paper, eq. for TD and critic loss; METHOD 4-5, phase B).

    A batch holds transitions (`rmtl_tf.inputs.batches`) with the extra column `logits` [N, K], what
    the frozen actor answers without dropout: its actions are sigmoid(logits), its rewards the negative
    cross-entropies, and as its target copy is itself, the next action is the next row's.

    Args:
        critic: the online critic.
        target: a second critic of the same configuration; it starts as a copy and follows softly.
        tasks: names of the K tasks, for the logs.
        gamma: discount.
        beta: soft-update rate.
        kind: "td0" (paper), "nstep", "td_lambda" or "monte_carlo"; see `rmtl_tf.rl.targets`.
        n: steps of "nstep".
        trace: lambda of "td_lambda".
        loss: "squared" (paper) or "huber". The squared error alone has the expected return as its minimum;
            returns are skewed to large losses, which Huber's discounts: with Monte-Carlo targets |Q| comes
            out smaller; with TD(0) session ends count as outliers, and |Q| far too large (docs/models.md).
        touched_rows_only: of the optimizer it is compiled with, see `Following`; False suits any.

    Raises:
        ValueError: `loss` is neither.
    """

    def __init__(
        self,
        critic: Critic,
        target: Critic,
        tasks: Sequence[str],
        gamma: float = 0.95,
        beta: float = 0.2,
        kind: str = "td0",
        n: int = 1,
        trace: float = 0.0,
        loss: str = "squared",
        touched_rows_only: bool = False,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"`loss` must be one of {sorted(LOSSES)}. Received: {loss!r}")
        self.critic, self.target = critic, target
        self.tasks, self.gamma = tuple(tasks), gamma
        self.kind, self.n, self.trace, self.error = kind, n, trace, LOSSES[loss]
        for network in (critic, target):
            if not network.built:
                network.build()
        target.trainable = False
        self.built = True
        self.following = Following(target, critic, beta, touched_rows_only)

    @property
    def state_variables(self) -> list[Any]:
        """The target critic and how far it followed, for checkpoints."""
        return [*self.target.weights, *self.following.variables]

    def policy(self, batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits [N, K] of the actions whose value is learnt, and the actions [N, K] of the target actor."""
        return batch["logits"], tf.sigmoid(batch["logits"])

    def targets(self, batch: dict[str, Any]) -> tf.Tensor:
        """What every estimate of the critic is trained towards, [N, K]; of twins the lower one counts."""
        return self._targets(batch, *self.policy(batch))

    def _targets(self, batch: dict[str, Any], logits: tf.Tensor, following: tf.Tensor) -> tf.Tensor:
        estimates = self.target.estimates(batch["features"], following, training=False)
        lowest = tf.reduce_min(tf.stack(estimates), axis=0)
        reward = rewards(batch["labels"], logits)
        path = (batch["next"], batch["done"], batch["mask"], self.gamma)
        return critic_targets(self.kind, reward, lowest, *path, n=self.n, trace=self.trace)

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step. Logs as `regress`."""
        logits, following = self.policy(batch)
        targets = tf.stop_gradient(self._targets(batch, logits, following))
        step = (self.critic, self.optimizer, self.error, self.tasks)
        logs = regress(*step, batch, tf.sigmoid(logits), targets)
        self.following.update()
        return logs

    def call(self, inputs: dict[str, tf.Tensor], actions: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.critic(inputs, actions, training=training)
