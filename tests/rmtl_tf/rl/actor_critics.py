"""Small agents for the tests of `joint`, `ddpg` and `td3_bc`: on a table, and on a tabular process."""

from __future__ import annotations

import keras
import numpy as np

from benchmarks.critic_closed_form import PROCESS, tabular_table
from rmtl_tf.backbones import SharedBottom
from rmtl_tf.config import AGENT_CONFIGS, CriticConfig, PhaseConfig
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.inputs import Batcher, epoch_plan
from rmtl_tf.rl.actor_critic import Networks
from rmtl_tf.rl.agents import AGENTS
from rmtl_tf.rl.critic_forms import build_critic
from rmtl_tf.schema import Task
from rmtl_tf.training.networks import build
from tests.conftest import small_spec

TASKS = (Task("click"), Task("buy"))
NAMES = ("click", "buy")


def make_networks(form="shared", dropout=0.0, gamma=0.9):
    """Networks on the spec of `make_table`, all of different weights, and their critic configuration."""
    spec = small_spec()
    actors = [
        SharedBottom(spec, TASKS, embedding_dim=4, bottom=(8,), tower=(4,), dropout=dropout, seed=seed)
        for seed in (3, 4)
    ]
    for actor in actors:
        build(actor, spec)
    config = CriticConfig(
        form=form, bottom=(8,), action=3, tower=(4,), dropout=dropout, gamma=gamma, beta=0.3
    )
    critics = [build_critic(config, spec, 2, embedding_dim=4, seed=seed) for seed in (1, 2)]
    return Networks(*actors, *critics), config


def make_agent(name, dropout=0.0, gamma=0.9, rate=1e-3, weighting=None, **settings):
    """A compiled agent, and its networks; `rate` is the phase's learning rate, which `joint` takes."""
    kind = AGENTS[name]
    networks, config = make_networks(kind.FORM or "shared", dropout, gamma)
    more = {"weighting": weighting} if weighting is not None else {}
    agent = kind(networks, NAMES, AGENT_CONFIGS[name](**settings), config, 5, **more)
    agent.optimise(PhaseConfig(weight_decay=0.0, learning_rate=rate))
    return agent, networks


def batch_of(table, size=16, number=0):
    """A batch with the frozen actor's logits, and the rows of the table it shows (-1: padding)."""
    logits = np.random.default_rng(5).normal(size=(table.rows, 2)).astype(np.float32)
    plan = epoch_plan(table, size, seed=0)
    batches = list(Batcher(table, {"frozen_logits": logits}).batches(plan))
    return batches[number], plan[number]


def values_of(layers):
    return [np.array(v) for layer in layers for v in layer.weights]


def same(before, after):
    return all((a == b).all() for a, b in zip(before, after, strict=True))


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def reward(labels, actions):
    return labels * np.log(actions) + (1 - labels) * np.log(1 - actions)


class TabularRun:
    """An agent on sessions of `PROCESS`; its actor is a plain functional Keras model.

    Attributes:
        behaviour: [S, K], what the frozen actor predicts: off the true probabilities by up to 0.25.
    """

    def __init__(self, name, gamma, weighting=None, rate=1e-2, **settings):
        states, tasks = PROCESS.probability.shape
        kind = AGENTS[name]
        self.spec, self.gamma = InputSpec(categorical=(("state", states + 2),)), gamma
        shift = np.random.default_rng(0).uniform(-0.25, 0.25, (states, tasks))
        self.behaviour = np.clip(PROCESS.probability + shift, 0.05, 0.95)
        config = CriticConfig(
            form=kind.FORM or "shared",
            bottom=(32,),
            action=16,
            tower=(32, 32),
            dropout=0.0,
            gamma=gamma,
            beta=0.05,
            learning_rate=3e-3,
        )
        critics = [build_critic(config, self.spec, tasks, 16, seed=1) for _ in range(2)]
        critics[0].start_from([-1.5] * tasks)
        self.networks = Networks(*(self._actor(states, tasks) for _ in range(2)), *critics)
        more = {"weighting": weighting} if weighting is not None else {}
        self.agent = kind(self.networks, ["a", "b"], AGENT_CONFIGS[name](**settings), config, 0, **more)
        self.agent.optimise(PhaseConfig(weight_decay=0.0, learning_rate=rate))

    @staticmethod
    def _actor(states, tasks):
        state = keras.Input((), dtype="int32", name="state")
        start = keras.initializers.RandomUniform(seed=1)
        hidden = keras.layers.Embedding(states + 2, 16, embeddings_initializer=start)(state)
        out = keras.layers.Dense(tasks, kernel_initializer=keras.initializers.GlorotUniform(seed=1))
        return keras.Model({"state": state}, out(hidden))

    def train(self, epochs, sessions=4000, batch=512):
        states, labels, lengths = PROCESS.sample(sessions, seed=4)
        table = tabular_table(states, labels, lengths)
        logits = np.log(self.behaviour / (1 - self.behaviour)).astype(np.float32)
        batcher = Batcher(table, {"frozen_logits": logits[states]})
        plan = np.concatenate([epoch_plan(table, batch, 0, epoch) for epoch in range(epochs)])
        for optimizer in self._optimizers():  # steps that end small, so that the result is no moment's
            rate = float(optimizer.learning_rate)
            optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(rate, len(plan))
        for model, part in self.agent.turns(plan):
            model.fit(batcher.batches(part), verbose=0)

    def _optimizers(self):
        if hasattr(self.agent, "critic_learner"):
            return self.agent.critic_learner.optimizer, self.agent.agent.optimizer
        return self.agent.optimizer, self.agent.critic_optimizer

    @property
    def states(self):
        return {"state": np.arange(len(self.behaviour)) + 2}

    def policy(self):
        return sigmoid(self.networks.actor(self.states, training=False))

    def error(self):
        """Mean distance of the policy from the best actions, p_k(s)."""
        return np.abs(self.policy() - PROCESS.probability).mean()

    def value_error(self):
        """Largest error of Q of the policy against its closed form, as a share of the mean |Q|."""
        policy = self.policy()
        q = self.networks.critic(self.states, policy.astype(np.float32), training=False).numpy()
        expected = PROCESS.closed_form_q(policy, self.gamma)
        return np.abs(q - expected).max() / np.abs(expected).mean()
