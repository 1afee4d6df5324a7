"""What agents that train an actor by its critic's gradient have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.config import OptimizerConfig
from rmtl_tf.errors import UserError
from rmtl_tf.optimizers import build_optimizer
from rmtl_tf.optimizers.build import touched_rows_only
from rmtl_tf.rl.critic_base import Critic
from rmtl_tf.rl.critic_learner import regress, squared_error
from rmtl_tf.rl.following import Following
from rmtl_tf.rl.mdp import cross_entropy
from rmtl_tf.rl.stepped import SteppedModel
from rmtl_tf.weighting.base import task_means

# Of the action range [0, 1]: the published noises are for actions in [-1, 1].
HALF_WIDTH = 0.5


class Networks(NamedTuple):
    """An actor, `call({name: [N]}, training) -> logits [N, K]`, a critic, and a second of each, built."""

    actor: keras.layers.Layer
    target_actor: keras.layers.Layer
    critic: Critic
    target_critic: Critic


class ActorCritic(SteppedModel):
    """Base of DDPG and TD3+BC: a subclass defines `train_step`.

    The policy is deterministic: a_k = sigmoid(logit_k). Any action's reward follows from the label, so the
    table of transitions (s, y, s', done) is the replay buffer and actions are chosen when a batch is met.
    Without dropout, except for the network that is being trained.

    Args:
        networks: the targets become copies of the others.
        tasks: names of the K tasks, for the logs.
        settings: of `rmtl_tf.config.agents`.
        critic_config: of its fields `gamma` is read here.
        seed: of the noise.

    Raises:
        UserError: the actor has a loss of its own beside the cross-entropies.
    """

    NEEDS: ClassVar[frozenset[str]] = frozenset()
    FORM: ClassVar[str | None] = None

    def __init__(
        self, networks: Networks, tasks: Sequence[str], settings: Any, critic_config: Any, seed: int = 0
    ) -> None:
        super().__init__()
        if hasattr(networks.actor, "logits_and_loss"):
            raise UserError(
                f"agent {settings.name}: expected a backbone without a loss of its own, received "
                f"{type(networks.actor).__name__}, and no agent that climbs Q minimises that loss. "
                "Choose another backbone."
            )
        self.actor, self.target_actor, self.critic, self.target_critic = networks
        self.tasks, self.settings, self.gamma = tuple(tasks), settings, critic_config.gamma
        self.noise_seed = keras.random.SeedGenerator(seed)
        self.target_actor.trainable = self.target_critic.trainable = False
        self.built = True
        self._follow_with(touched_rows_only=False)

    def _follow_with(self, touched_rows_only: bool) -> None:
        pairs = ((self.target_actor, self.actor), (self.target_critic, self.critic))
        tau = self.settings.tau
        self.followings = [Following(target, online, tau, touched_rows_only) for target, online in pairs]

    def optimise(self, phase: Any, config: OptimizerConfig | None = None) -> None:
        """Makes the optimizers: of `phase` the weight decay is the actor's."""
        settings, config = self.settings, config or OptimizerConfig()
        self._follow_with(touched_rows_only(config))
        decay = getattr(settings, "critic_weight_decay", 0.0)
        critic = (self.critic, settings.critic_learning_rate, decay)
        self.critic_optimizer = build_optimizer(*critic, config, followed=True)
        actor = (self.actor, settings.learning_rate, phase.weight_decay)
        self.compile(optimizer=build_optimizer(*actor, config, followed=True))

    @property
    def state_variables(self) -> list[Any]:
        """Optimizers, targets, the state of the noise; for checkpoints."""
        targets = [*self.target_actor.weights, *self.target_critic.weights]
        targets += [variable for following in self.followings for variable in following.variables]
        optimizers = [*self.optimizer.variables, *self.critic_optimizer.variables]
        return [*targets, *optimizers, self.noise_seed.state]

    def turns(self, plan: np.ndarray) -> list[tuple[keras.Model, np.ndarray]]:
        """One model takes all batches of an epoch."""
        return [(self, plan)]

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return self.actor(inputs, training=training)

    def policy(self, actor: keras.layers.Layer, batch: dict[str, Any]) -> tf.Tensor:
        """The actions [N, K] of `actor` without noise."""
        return tf.sigmoid(actor(batch["features"], training=False))

    def disturb(
        self, actions: tf.Tensor, deviation: float, clip: float | None = None, margin: float = 0.0
    ) -> tf.Tensor:
        """Actions [N, K] with Gaussian noise, back in [margin, 1 - margin].

        Args:
            deviation, clip: standard deviation and largest size of the noise, in half widths of [0, 1].
        """
        noise = keras.random.normal(tf.shape(actions), stddev=deviation * HALF_WIDTH, seed=self.noise_seed)
        if clip is not None:
            noise = tf.clip_by_value(noise, -clip * HALF_WIDTH, clip * HALF_WIDTH)
        return tf.clip_by_value(actions + noise, margin, 1.0 - margin)

    def learn_critic(
        self, batch: dict[str, Any], actions: tf.Tensor, targets: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """One step of the critic on (y - Q(s, a))^2; its logs, as `critic/...`."""
        step = (self.critic, self.critic_optimizer, squared_error, self.tasks)
        logs = regress(*step, batch, actions, tf.stop_gradient(targets))
        return {f"critic/{key}": value for key, value in logs.items()}

    def actor_logs(self, batch: dict[str, Any], logits: tf.Tensor, loss: tf.Tensor, gradients: list) -> dict:
        """`loss` (the agent's own), `gradient_norm` and, for every task, `loss/<task>`: cross-entropy."""
        losses = task_means(cross_entropy(batch["labels"], logits), batch["mask"])
        logs = {"loss": loss, "gradient_norm": tf.linalg.global_norm(gradients)}
        return logs | {f"loss/{task}": losses[k] for k, task in enumerate(self.tasks)}

    def follow(self) -> None:
        """target <- tau * online + (1 - tau) * target, for actor and critic."""
        for following in self.followings:
            following.update()
