"""DDPG: the actor climbs its critic's gradient. With the backbone PLE it is D-PLE, the paper's baseline."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rmtl_tf.optimizers import sum_duplicates
from rmtl_tf.rl.actor_critic import ActorCritic
from rmtl_tf.rl.mdp import action_rewards, td_targets
from rmtl_tf.weighting.base import task_means


class DDPG(ActorCritic):
    """Deep deterministic policy gradient on the session MDP: no cross-entropy is minimised.

        a_t  = clip(mu(s_t) + noise)
        y_t  = r(s_t, a_t) + gamma (1 - done_t) Q'(s_{t+1}, mu'(s_{t+1}))
        critic: minimise (y_t - Q(s_t, a_t))^2
        actor:  grad J = mean of grad_a Q(s_t, mu(s_t)) grad_theta mu(s_t)
        theta' <- tau theta + (1 - tau) theta', for actor and critic

    As transitions ignore the action, argmax_a Q_k(s, a) = P(y_k = 1 | s): a perfect critic leads the actor
    where the cross-entropy does. Deviations from the paper: the replay buffer is the table of logged
    sessions, as any action's reward follows from the label; the noise is Gaussian and independent, as in TD3,
    instead of an Ornstein-Uhlenbeck process, which is for bodies with inertia; noisy actions keep the
    distance `margin` from 0 and 1, where a reward is minus infinity; the critic reads the action beside the
    bottom, as in RMTL.

    Args: see `ActorCritic`; settings: `DDPGConfig`.

    References:
        Lillicrap et al., "Continuous control with deep reinforcement learning", ICLR 2016, algorithm 1.
        Liu et al., "Multi-Task Recommendations with Reinforcement Learning", WWW 2023, D-PLE.
    """

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step of critic and actor. Logs as `ActorCritic`."""
        features, settings = batch["features"], self.settings
        actions = self.disturb(self.policy(self.actor, batch), settings.noise, margin=settings.margin)
        following = self.target_critic(features, self.policy(self.target_actor, batch), training=False)
        reward = action_rewards(batch["labels"], actions)
        targets = td_targets(reward, tf.gather(following, batch["next"]), batch["done"], self.gamma)
        logs = self.learn_critic(batch, actions, targets)

        with tf.GradientTape() as tape:
            logits = self.actor(features, training=True)
            q = self.critic(features, tf.sigmoid(logits), training=False)
            loss = -tf.reduce_mean(task_means(q, batch["mask"]))
        variables = self.actor.trainable_variables
        gradients = sum_duplicates(tape.gradient(loss, variables))
        self.optimizer.apply(gradients, variables)
        self.follow()
        return logs | self.actor_logs(batch, logits, loss, gradients)
