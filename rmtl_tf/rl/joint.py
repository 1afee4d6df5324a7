"""RMTL without a frozen actor: the critic follows the actor whose losses it weighs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.config import OptimizerConfig
from rmtl_tf.optimizers import build_optimizer
from rmtl_tf.optimizers.build import touched_rows_only
from rmtl_tf.rl.actor_critic import Networks
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.critic_learner import CriticLearner
from rmtl_tf.rl.following import Following
from rmtl_tf.weighting.base import Weighting


class Joint:
    """Critic sweeps and weighted actor steps alternate; the reading of the paper's algorithm in which the
    actor is not frozen (METHOD 5 has the one its author ran).

        sweep:   a_t = mu(s_t), y_t = r(s_t, a_t) + gamma (1 - done_t) Q'(s_{t+1}, mu'(s_{t+1}))
                 minimise (y_t - Q(s_t, a_t))^2; phi' <- beta phi + (1 - beta) phi'
        actor:   minimise omega BCE(mu(s_t), y_t), omega of Q(s_t, mu(s_t)), no gradient through omega;
                 theta' <- beta theta + (1 - beta) theta'

    Both take the same batches: the critic `every` of them (or an epoch), then the actor. Other targets than
    TD(0) take their rewards from mu and their values from mu' and Q'.

    Args:
        networks: the targets become copies of the others.
        tasks: names of the K tasks, for the logs.
        settings: `JointConfig`.
        critic_config: `CriticConfig`: discount, beta, learning rate, targets, loss.
        seed: not used: nothing is drawn.
        weighting: reads Q.
    """

    NEEDS: ClassVar[frozenset[str]] = frozenset()
    FORM: ClassVar[str | None] = None

    def __init__(
        self,
        networks: Networks,
        tasks: Sequence[str],
        settings: Any,
        critic_config: Any,
        seed: int = 0,
        *,
        weighting: Weighting,
    ) -> None:
        self.every, self.critic_config = settings.every, critic_config
        self.critic_learner = CriticSweep(networks, tasks, critic_config)
        self.agent = ActorSteps(networks, tasks, weighting, critic_config.beta)

    def optimise(self, phase: Any, config: OptimizerConfig | None = None) -> None:
        """Makes the optimizers: the actor's is that of `phase`."""
        config = config or OptimizerConfig()
        agent, learner, lazy = self.agent, self.critic_learner, touched_rows_only(config)
        agent.following = Following(agent.target_actor, agent.backbone, agent.following.rate, lazy)
        learner.following = Following(learner.target, learner.critic, learner.following.rate, lazy)
        decays = ((agent, agent.backbone, phase.learning_rate, phase.weight_decay),)
        rates = (*decays, (learner, learner.critic, self.critic_config.learning_rate, 0.0))
        for model, network, rate, decay in rates:
            optimizer = build_optimizer(network, rate, decay, config, followed=True)
            model.compile(optimizer=optimizer)

    @property
    def state_variables(self) -> list[Any]:
        """Optimizers, targets, the weighting's state; for checkpoints."""
        agent, learner = self.agent, self.critic_learner
        targets = [*agent.target_actor.weights, *agent.following.variables, *learner.state_variables]
        optimizers = [*agent.optimizer.variables, *learner.optimizer.variables]
        return [*targets, *optimizers, *agent.state_variables]

    def turns(self, plan: np.ndarray) -> list[tuple[keras.Model, np.ndarray]]:
        """The same batches for the critic, then for the actor, `every` at a time."""
        size = self.every or max(len(plan), 1)
        parts = [plan[start : start + size] for start in range(0, len(plan), size)]
        return [(model, part) for part in parts for model in (self.critic_learner, self.agent)]


class CriticSweep(CriticLearner):
    """Learns the value of the current actor instead of a frozen one."""

    def __init__(self, networks: Networks, tasks: Sequence[str], config: Any) -> None:
        actor, target_actor, critic, target_critic = networks
        settings = {"kind": config.target, "n": config.n, "trace": config.trace, "loss": config.loss}
        super().__init__(critic, target_critic, tasks, config.gamma, config.beta, **settings)
        # Behind a function, so that Keras does not count the actors among this model's variables.
        self._actors = lambda: (actor, target_actor)

    def policy(self, batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        actor, target_actor = self._actors()
        logits = actor(batch["features"], training=False)
        return logits, tf.sigmoid(target_actor(batch["features"], training=False))

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        return {f"critic/{key}": value for key, value in super().train_step(batch).items()}


class ActorSteps(Agent):
    """Weighted steps, which the target actor follows."""

    def __init__(self, networks: Networks, tasks: Sequence[str], weighting: Weighting, beta: float) -> None:
        super().__init__(networks.actor, weighting, tasks, networks.critic)
        self.target_actor = networks.target_actor
        self.target_actor.trainable = False
        self.following = Following(self.target_actor, self.backbone, beta)

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        logs = super().train_step(batch)
        self.following.update()
        return logs
