"""The actor in training: any multi-task backbone under any loss weighting (phases A and C)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from rmtl_tf import replicas
from rmtl_tf.errors import UserError
from rmtl_tf.layers.once import shared_passes
from rmtl_tf.optimizers import sum_duplicates
from rmtl_tf.rl.mdp import cross_entropy
from rmtl_tf.rl.stepped import SteppedModel
from rmtl_tf.rl.task_gradients import combined_gradients
from rmtl_tf.weighting.base import Context, State, Weighting, task_means
from rmtl_tf.weighting.gradient_method import GradientMethod

# Column [R, W] of a train table: `Critic.encode` of the frozen critic, computed once.
ENCODED = "critic_encoded"


class Agent(SteppedModel):
    """Minimises mean over records and tasks of omega * BCE (paper, actor loss; METHOD 4-5).

    With the weighting `constant` this is phase A and the control; with `rmtl` and a critic, phase C.
    omega = 1 - lambda Q(s, a) takes the actor's current action without dropout, and no gradient
    flows through it. With a gradient method the step follows the sum of the tasks' gradients it chooses.

    Args:
        backbone: layer or model with `call({name: [N]}, training) -> logits [N, K]`; users bring their own.
            Where it has a loss of its own beside the cross-entropies it defines
            `logits_and_loss({name: [N]}, labels [N, K], mask [N], training) -> (logits [N, K], scalar)`;
            that scalar is added to the weighted loss, as it is.
        weighting: of `rmtl_tf.weighting`.
        tasks: names of the K tasks, for the logs.
        critic: frozen critic, `call(features, actions [N, K]) -> [N, K]`; needed where a weighting reads `q`.
            Batches with the column `ENCODED` spare it the part that does not depend on the actions.
    """

    def __init__(
        self,
        backbone: keras.layers.Layer,
        weighting: Weighting,
        tasks: Sequence[str],
        critic: keras.layers.Layer | None = None,
    ) -> None:
        super().__init__()
        if "q" in weighting.NEEDS and critic is None:
            raise ValueError("`critic` is needed by this weighting. Received: None")
        if isinstance(weighting, GradientMethod) and hasattr(backbone, "logits_and_loss"):
            raise UserError(
                f"weighting {type(weighting).__name__}: a gradient method cannot be combined with a backbone "
                f"that has a loss of its own ({type(backbone).__name__}). Choose another of the two."
            )
        self.backbone, self.weighting, self.tasks = backbone, weighting, tuple(tasks)
        # Behind a function, so that Keras does not count the frozen critic among this model's variables.
        self._critic: Callable[[], Any] = lambda: critic
        self.weighting_state = tf.nest.map_structure(
            lambda value: tf.Variable(value, trainable=False), weighting.init(len(self.tasks))
        )

    @property
    def state_variables(self) -> list[tf.Variable]:
        """The weighting's state, for checkpoints."""
        return tf.nest.flatten(self.weighting_state)

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return self.backbone(inputs, training=training)

    def omega(self, batch: dict[str, Any], losses: tf.Tensor, remember: bool = True) -> tf.Tensor:
        """The weights [N, K] of a batch; updates the weighting's state unless `remember` is False."""
        needs = self.weighting.NEEDS
        q = value = None
        if "q" in needs:
            actions = tf.sigmoid(self.backbone(batch["features"], training=False))
            q = self._values(batch, actions)
        if "value" in needs:
            mean = tf.broadcast_to(task_means(actions, batch["mask"]), tf.shape(actions))
            value = self._values(batch, mean)
        context = Context(
            q=q,
            returns=batch["returns"] if "returns" in needs else None,
            labels=batch["labels"],
            session_length=batch["session_length"],
            mask=batch["mask"],
            frozen=tf.sigmoid(batch["frozen_logits"]) if "frozen" in needs else None,
            value=value,
        )
        weights, state = self.weighting.update(tf.stop_gradient(losses), context, self._state())
        if remember:
            self._remember(state)
        return tf.stop_gradient(weights)

    def _values(self, batch: dict[str, Any], actions: tf.Tensor) -> tf.Tensor:
        """The frozen critic's values [N, K] of the actions [N, K]."""
        critic = self._critic()
        if ENCODED in batch:
            return tf.stop_gradient(critic.evaluate(batch[ENCODED], actions, training=False))
        return tf.stop_gradient(critic(batch["features"], actions, training=False))

    def _state(self) -> State:
        return tf.nest.map_structure(tf.convert_to_tensor, self.weighting_state)

    def _remember(self, state: State) -> None:
        tf.nest.map_structure(lambda variable, value: variable.assign(value), self.weighting_state, state)

    def _forward(self, batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Logits [N, K] in training, and the backbone's own loss if it has one."""
        if not hasattr(self.backbone, "logits_and_loss"):
            return self.backbone(batch["features"], training=True), None
        if not self.backbone.built:
            self.backbone(batch["features"])
        return self.backbone.logits_and_loss(batch["features"], batch["labels"], batch["mask"], training=True)

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One weighted step. Logs `loss`, `gradient_norm` and, for every task, `loss/<task>` (unweighted),
        `omega_mean/<task>`, `omega_std/<task>`, `omega_max/<task>`; `loss_backbone` where the backbone has
        a loss of its own, which `loss` includes; `gradient_norm` not where the batch is split over replicas,
        whose gradients are added up in the optimizer; with a gradient method also `gradient_weight/<task>`, 1
        where the gradient counts as it does for the control."""
        method = self.weighting if isinstance(self.weighting, GradientMethod) else None
        weight = batch["mask"][:, tf.newaxis]  # [N, 1]
        records = replicas.total(tf.reduce_sum(weight))
        with tf.GradientTape(persistent=method is not None) as tape, shared_passes():
            logits, extra = self._forward(batch)
            losses = cross_entropy(batch["labels"], logits)  # [N, K]
            with tape.stop_recording():
                omega = self.omega(batch, losses)
            total = tf.reduce_sum(weight * omega * losses)
            loss = tf.math.divide_no_nan(total, records * len(self.tasks))
            if extra is not None:
                loss += extra
            if method is not None:
                means = tf.math.divide_no_nan(tf.reduce_sum(weight * losses, axis=0), records)
                task_losses = tf.unstack(means, len(self.tasks))
        variables = self.backbone.trainable_variables
        logs = {"loss": replicas.total(loss)}
        if method is None:
            gradients = sum_duplicates(tape.gradient(loss, variables))
        else:
            gradients, shares, state = combined_gradients(method, tape, task_losses, variables, self._state())
            self._remember(state)
            logs |= {f"gradient_weight/{t}": shares[k] * len(self.tasks) for k, t in enumerate(self.tasks)}
        self.optimizer.apply(gradients, variables)
        if not replicas.several():
            logs["gradient_norm"] = tf.linalg.global_norm(gradients)
        if extra is not None:
            logs["loss_backbone"] = replicas.total(extra)
        sums = replicas.total([tf.reduce_sum(weight * values, axis=0) for values in (omega, losses)])
        mean, per_task = (tf.math.divide_no_nan(values, records) for values in sums)  # [K]
        squares = replicas.total(tf.reduce_sum(weight * (omega - mean) ** 2, axis=0))
        square = tf.math.divide_no_nan(squares, records)
        largest = replicas.largest(tf.reduce_max(weight * omega, axis=0))
        for k, task in enumerate(self.tasks):
            logs |= {f"loss/{task}": per_task[k], f"omega_mean/{task}": mean[k]}
            logs |= {f"omega_std/{task}": tf.sqrt(square[k]), f"omega_max/{task}": largest[k]}
        return logs
