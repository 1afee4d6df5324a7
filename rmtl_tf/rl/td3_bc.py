"""TD3+BC: the actor climbs the lower of two critics, and stays near what the log's policy did."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from rmtl_tf.optimizers import sum_duplicates
from rmtl_tf.rl.actor_critic import ActorCritic
from rmtl_tf.rl.mdp import action_rewards, td_targets
from rmtl_tf.weighting.base import task_means


class TD3BC(ActorCritic):
    """TD3 with behaviour cloning, an offline algorithm, on the session MDP.

        a'   = clip(mu'(s_{t+1}) + clip(noise, -c, c), 0, 1)
        y_t  = r(s_t, a_t) + gamma (1 - done_t) min(Q_1'(s_{t+1}, a'), Q_2'(s_{t+1}, a'))
        critics: minimise (y_t - Q_i(s_t, a_t))^2
        actor, every `policy_delay` steps, and with it all targets:
                minimise -lambda Q_1(s_t, mu(s_t)) + (mu(s_t) - a)^2,
                lambda = alpha / mean |Q_1(s_t, mu(s_t))|

    The behaviour's action a is the frozen pretrained actor's prediction: the logs hold no action in the sense
    of this MDP (a displayed item is no probability), and that prediction is the policy a system that logs
    such data serves with. It is deterministic, however, and one action a state tells the critics nothing
    about dQ/da, which the actor climbs; the data sets of the paper come from policies with noise. So the
    critics see a_t = clip(a + noise) of deviation `behaviour_noise`, with the exact reward, while the actor
    imitates a itself: the mean of clipped noise is no prediction.

    lambda is taken per task, as every task has critics of its own. Numbers are standardised by the transform
    graph, the paper's other addition to TD3. The published noises are in units of the action range's half
    width, which is 1 there and 1/2 here.

    Args: see `ActorCritic`; settings: `TD3BCConfig`; the critic is a `TwinCritic`.

    References:
        Fujimoto, Gu, "A Minimalist Approach to Offline Reinforcement Learning", NeurIPS 2021, eq. 3-5.
        Fujimoto, van Hoof, Meger, "Addressing Function Approximation Error in Actor-Critic Methods",
        ICML 2018, algorithm 1.
    """

    NEEDS: ClassVar[frozenset[str]] = frozenset({"frozen"})
    FORM: ClassVar[str | None] = "twin"

    def targets(self, batch: dict[str, Any], actions: tf.Tensor) -> tf.Tensor:
        """y_t [N, K] of the actions [N, K]: clipped double Q with target policy smoothing."""
        settings = self.settings
        smoothed = self.disturb(
            self.policy(self.target_actor, batch), settings.policy_noise, clip=settings.noise_clip
        )
        estimates = self.target_critic.estimates(batch["features"], smoothed, training=False)
        following = tf.gather(tf.reduce_min(tf.stack(estimates), axis=0), batch["next"])
        return td_targets(action_rewards(batch["labels"], actions), following, batch["done"], self.gamma)

    def actor_loss(self, batch: dict[str, Any], logits: tf.Tensor) -> tf.Tensor:
        """-lambda Q_1(s, mu(s)) + (mu(s) - a)^2, the mean over records and tasks."""
        actions, behaviour = tf.sigmoid(logits), tf.sigmoid(batch["frozen_logits"])
        q = self.critic.estimates(batch["features"], actions, training=False)[0]
        size = task_means(tf.abs(q), batch["mask"])  # [K]
        scale = tf.stop_gradient(tf.math.divide_no_nan(self.settings.alpha, size))
        value, imitation = (task_means(x, batch["mask"]) for x in (q, (actions - behaviour) ** 2))
        return tf.reduce_mean(-scale * value + imitation)

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step of the critics and, every `policy_delay` steps, of actor and targets. Logs as
        `ActorCritic`, at every step."""
        settings = self.settings
        behaviour = tf.sigmoid(batch["frozen_logits"])
        actions = self.disturb(behaviour, settings.behaviour_noise, margin=settings.margin)
        logs = self.learn_critic(batch, actions, self.targets(batch, actions))

        with tf.GradientTape() as tape:
            logits = self.actor(batch["features"], training=True)
            loss = self.actor_loss(batch, logits)
        variables = self.actor.trainable_variables
        gradients = sum_duplicates(tape.gradient(loss, variables))

        def update() -> tf.Tensor:
            self.optimizer.apply(gradients, variables)
            self.follow()
            return True

        steps = tf.convert_to_tensor(self.critic_optimizer.iterations)
        tf.cond(steps % settings.policy_delay == 0, update, lambda: False)
        return logs | self.actor_logs(batch, logits, loss, gradients)
