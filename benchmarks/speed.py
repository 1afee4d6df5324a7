"""Training steps at one size, on random records, and how long they take beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.backbones import build_backbone
from rmtl_tf.config import CriticConfig, ModelConfig, OptimizerConfig, PhaseConfig, WeightingConfig
from rmtl_tf.config.agents import AGENT_CONFIGS
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.optimizers.build import touched_rows_only
from rmtl_tf.rl.actor_critic import Networks
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.agents import AGENTS
from rmtl_tf.rl.critic_base import Critic
from rmtl_tf.rl.critic_forms import build_critic
from rmtl_tf.rl.critic_learner import CriticLearner
from rmtl_tf.schema import Task
from rmtl_tf.training.phases import build, compile_model
from rmtl_tf.weighting import build_weighting

TASKS = (Task("click"), Task("buy", parent="click"))
NAMES = tuple(task.name for task in TASKS)
BASE_BACKBONE = "shared_bottom"
_SESSION = 8  # records

Step = Callable[[], Any]


@dataclass(frozen=True)
class Size:
    """What is measured; the defaults are the paper's sizes, K = 2.

    Attributes:
        fields: F, all categorical; the first two are ids.
        rows: ids of each field.
        batch: N records.
    """

    fields: int = 7
    rows: int = 1000
    batch: int = 2048
    model: ModelConfig = field(default_factory=ModelConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)

    @property
    def spec(self) -> InputSpec:
        names = [f"field_{i}" for i in range(self.fields)]
        return InputSpec(categorical=tuple((name, self.rows) for name in names), ids=tuple(names[:2]))

    def records(self, seed: int = 0) -> dict[str, Any]:
        """A batch as `rmtl_tf.inputs.Batcher` makes it, with every extra a method may read."""
        random = np.random.default_rng(seed)
        shape = (self.batch, len(TASKS))
        row = np.arange(self.batch)
        logits = random.normal(size=shape)
        columns = {
            "labels": random.random(shape) < 0.1,
            "mask": np.ones(self.batch),
            "done": (row + 1) % _SESSION == 0,
            "session_length": np.full(self.batch, _SESSION),
            "returns": -random.exponential(size=shape),
            "logits": logits,
            "frozen_logits": logits,
        }
        batch: dict[str, Any] = {name: tf.constant(value, tf.float32) for name, value in columns.items()}
        batch["next"] = tf.constant(np.minimum(row + 1, self.batch - 1), tf.int32)
        batch["features"] = {
            name: tf.constant(random.integers(0, size, self.batch), tf.int32)
            for name, size in self.spec.categorical
        }
        return batch


def make_backbone(size: Size, name: str) -> keras.layers.Layer:
    """A backbone with its variables."""
    layer = build_backbone(size.model.model_copy(update={"backbone": name}), size.spec, TASKS)
    build(layer, size.spec)
    return layer


def make_critic(size: Size, form: str) -> Critic:
    config = size.critic.model_copy(update={"form": form})
    return build_critic(config, size.spec, len(TASKS), size.model.embedding_dim)


def actor_step(size: Size, backbone: keras.layers.Layer, weighting: str) -> Step:
    """One training step of a backbone under a weighting: forward, backward, Adam, and omega."""
    method = build_weighting(WeightingConfig(name=weighting))
    critic = make_critic(size, "shared") if "q" in method.NEEDS else None
    agent = Agent(backbone, method, NAMES, critic)
    compile_model(agent, backbone, PhaseConfig())
    return _bound(size, agent.train_step)


def critic_step(size: Size, form: str, target: str) -> Step:
    """One training step of a critic: targets, forward, backward, Adam, soft update."""
    online, copy = make_critic(size, form), make_critic(size, form)
    config = size.critic
    path = {"kind": target, "n": config.n, "trace": config.trace}
    lazy = touched_rows_only(OptimizerConfig())
    learner = CriticLearner(online, copy, NAMES, **path, touched_rows_only=lazy)
    compile_model(learner, online, PhaseConfig(), followed=True)
    return _bound(size, learner.train_step)


def agent_step(size: Size, name: str) -> Step:
    """One batch for everything an agent trains: of `rmtl` phase C alone, of the others actor and critic."""
    if name == "rmtl":
        return actor_step(size, make_backbone(size, BASE_BACKBONE), "rmtl")
    return _bound(size, *(model.train_step for model in agent_models(size, name)))


def agent_models(size: Size, name: str) -> list[keras.Model]:
    """The models of an agent that learns its critic itself, which take the same batches in turn."""
    settings, kind = AGENT_CONFIGS[name](), AGENTS[name]
    actors = [make_backbone(size, BASE_BACKBONE) for _ in range(2)]
    critics = [make_critic(size, kind.FORM or size.critic.form) for _ in range(2)]
    weighting = {"weighting": build_weighting(WeightingConfig(name="rmtl"))} if settings.WEIGHS else {}
    agent = kind(Networks(*actors, *critics), NAMES, settings, size.critic, **weighting)
    agent.optimise(PhaseConfig())
    return [model for model, _ in agent.turns(np.zeros((1, size.batch)))]


def _bound(size: Size, *train_steps: Callable[[dict[str, Any]], dict[str, tf.Tensor]]) -> Step:
    """All steps on the same batch, one after another, until their numbers are there."""
    steps, batch = [tf.function(step) for step in train_steps], size.records()
    return lambda: [value.numpy() for step in steps for value in step(batch).values()]


def interleaved(steps: Mapping[str, Step], rounds: int) -> dict[str, np.ndarray]:
    """Seconds [rounds] of each step. Every round runs each once, so that a slow minute slows all alike."""
    for step in steps.values():
        step()  # traces
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in seconds.items()}


def speeds(seconds: Mapping[str, Sequence[float]], base: str, batch: int) -> dict[str, tuple[float, float]]:
    """Samples per second, and as a multiple of `base`: medians over rounds, the multiple's by round."""
    reference = np.asarray(seconds[base])
    return {
        name: (batch / float(np.median(values)), float(np.median(reference / np.asarray(values))))
        for name, values in seconds.items()
    }
