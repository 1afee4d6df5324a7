"""The three phases of RMTL (METHOD 5): pretrain the actor, learn the critics, fine-tune every arm.

All arms start from the same checkpoint with the same order of batches and the same dropout, so the
difference between an arm and the control is its weighting's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from rmtl_tf.backbones import build_backbone
from rmtl_tf.config import ArmConfig, CriticConfig, ModelConfig, PhaseConfig, TrainingConfig, WeightingConfig
from rmtl_tf.features.spec import InputSpec, history_input
from rmtl_tf.files import digest_json
from rmtl_tf.inputs import RecordTable
from rmtl_tf.layers.seeds import derive_seed
from rmtl_tf.metrics import auc
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.critic_base import Critic
from rmtl_tf.rl.critic_forms import build_critic
from rmtl_tf.rl.critic_learner import CriticLearner
from rmtl_tf.rl.mdp import cross_entropy, discounted_returns
from rmtl_tf.schema import Task
from rmtl_tf.training import tensorboard
from rmtl_tf.training.checkpoint import assign
from rmtl_tf.training.loop import Phase, Progress
from rmtl_tf.training.predict import OmegaPredictor, Predictor
from rmtl_tf.weighting import build_weighting

log = logging.getLogger(__name__)

Weights = list[np.ndarray]


@dataclass(frozen=True)
class Problem:
    """What is trained on: the inputs, the tasks, and two tables."""

    spec: InputSpec
    tasks: tuple[Task, ...]
    train: RecordTable
    validation: RecordTable

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)


@dataclass(frozen=True)
class Frozen:
    """The frozen actor: its weights, and its logits [R, K] without dropout on both tables."""

    weights: Weights
    train: np.ndarray
    validation: np.ndarray


class Trainer:
    """Runs the phases of one training; every phase resumes from its checkpoint.

    Args:
        problem: data, inputs and tasks.
        model, training: configuration.
        seed: of weights, dropout and the order of batches.
        checkpoints: folder of the phases' checkpoints.
        logs: TensorBoard folder.
    """

    def __init__(
        self,
        problem: Problem,
        model: ModelConfig,
        training: TrainingConfig,
        seed: int,
        checkpoints: Path,
        logs: Path,
    ) -> None:
        self.problem, self.model, self.training = problem, model, training
        self.checkpoints, self.logs = checkpoints, logs
        self.seeds = {phase: derive_seed(seed, phase) for phase in "ABC"}

    def backbone(self, phase: str) -> keras.layers.Layer:
        """A new backbone, built; its weights and dropout follow the phase's seed."""
        layer = build_backbone(self.model, self.problem.spec, self.problem.tasks, self.seeds[phase])
        build(layer, self.problem.spec)
        return layer

    def pretrain(self) -> tuple[Frozen, Progress]:
        """Phase A: plain mean of the task losses, early stopping on validation mean AUC."""
        agent = Agent(self.backbone("A"), build_weighting(WeightingConfig()), self.problem.names)
        progress = self._train_actor("pretrain", agent, "A", self.training.pretrain, None, None)
        problem, backbone = self.problem, agent.backbone
        logits = [Predictor(backbone, table)() for table in (problem.train, problem.validation)]
        return Frozen(weights_of(backbone), *logits), progress

    def critic(self, frozen: Frozen, config: CriticConfig, arms: Sequence[str]) -> tuple[Critic, Progress]:
        """Phase B: a critic of the frozen actor, its embeddings started from the actor's; `arms` share it.

        Early stopping on the mean squared error against the Monte-Carlo return of validation sessions,
        which the true value function minimises; a TD loss can be small for a wrong critic.
        """
        problem = self.problem
        actor = self.backbone("A")
        assign(actor.weights, frozen.weights)
        width = self.embedding_width(actor)
        online, target = self._new_critic(config, width), self._new_critic(config, width)
        if hasattr(actor, "embedding"):  # else: a backbone of the user's own
            for embedding in online.embeddings:
                embedding.start_from(actor.embedding)
        returns = frozen_returns(problem.train, frozen.train, config.gamma)
        online.start_from(returns[problem.train.records].mean(axis=0))
        learner = CriticLearner(
            online,
            target,
            problem.names,
            config.gamma,
            config.beta,
            kind=config.target,
            n=config.n,
            trace=config.trace,
            loss=config.loss,
        )
        compile_model(learner, online, PhaseConfig(learning_rate=config.learning_rate, weight_decay=0.0))
        name = critic_name(config)
        held_out = CriticReport(problem, frozen, config.gamma, online)
        phase = Phase(
            name,
            learner,
            kept=online.weights,
            state=[*seeds_of(online), *target.weights, *learner.optimizer.variables],
            table=problem.train,
            extras={"logits": frozen.train},
            batch_size=self.training.batch_size,
            seed=self.seeds["B"],
            max_epochs=config.max_epochs,
            patience=config.patience,
            evaluate=held_out.metrics,
            monitor="fit",
            incumbent=None,
            checkpoint=self.checkpoints / f"{name}.npz",
            checkpoint_steps=self.training.checkpoint_steps,
            logger=tensorboard.PhaseLogger(
                self.logs / tensorboard.critic_run(arms),
                self.training.log_steps,
                "critic",
                extra=held_out.plot,
            ),
        )
        return online, phase.run()

    def embedding_width(self, actor: keras.layers.Layer | None = None) -> int:
        """The width of a critic's embeddings: the actor's. Single Task has K tables side by side, and the
        critic takes them all, at their joint width."""
        actor = self.backbone("A") if actor is None else actor
        return actor.embedding.width if hasattr(actor, "embedding") else self.model.embedding_dim

    def _new_critic(self, config: CriticConfig, width: int) -> Critic:
        return build_critic(config, self.problem.spec, len(self.problem.tasks), width, self.seeds["B"])

    def judge(self, critic: Critic, frozen: Frozen, gamma: float) -> dict[str, float]:
        """The metrics of `CriticReport` for a critic that was trained elsewhere, with discount `gamma`."""
        return CriticReport(self.problem, frozen, gamma, critic).metrics()

    def finetune(
        self, frozen: Frozen, arm: ArmConfig, critic: Critic | None, incumbent: float
    ) -> tuple[Weights, Progress, np.ndarray]:
        """Phase C: from theta0 with a fresh optimizer, losses weighted by the arm's omega.

        Args:
            incumbent: the pretrained validation mean AUC, the first to beat; if no epoch does, theta0 stays.

        Returns:
            The fine-tuned weights, the progress, and omega [R, K] of the train table under theta0.
        """
        agent = Agent(self.backbone("C"), build_weighting(arm.weighting), self.problem.names, critic)
        assign(agent.backbone.weights, frozen.weights)
        extras = {}
        if "returns" in agent.weighting.NEEDS:
            gamma = self.training.critic_of(arm).gamma
            extras["returns"] = frozen_returns(self.problem.train, frozen.train, gamma).astype(np.float32)
        if "frozen" in agent.weighting.NEEDS:
            extras["frozen_logits"] = frozen.train
        omega = OmegaPredictor(agent, self.problem.train, extras)
        before = omega()
        progress = self._train_actor(
            f"finetune-{arm.name}",
            agent,
            "C",
            self.training.finetune,
            incumbent,
            None if arm.weighting.name == "constant" else omega,
            extras,
        )
        return weights_of(agent.backbone), progress, before

    def _train_actor(
        self,
        name: str,
        agent: Agent,
        phase: str,
        config: PhaseConfig,
        incumbent: float | None,
        omega: OmegaPredictor | None,
        extras: dict[str, np.ndarray] | None = None,
    ) -> Progress:
        compile_model(agent, agent.backbone, config)
        predictor = Predictor(agent.backbone, self.problem.validation)

        def histograms(epoch: int) -> None:
            if omega is not None:
                tensorboard.write_histograms(omega(sample=20_000), self.problem.names, epoch)

        return Phase(
            name,
            agent,
            kept=agent.backbone.weights,
            state=[*seeds_of(agent.backbone), *agent.optimizer.variables, *agent.state_variables],
            table=self.problem.train,
            extras=extras,
            batch_size=self.training.batch_size,
            seed=self.seeds[phase],
            max_epochs=config.max_epochs,
            patience=config.patience,
            evaluate=lambda: validation_metrics(self.problem.validation, predictor(), self.problem.names),
            monitor="auc",
            incumbent=incumbent,
            checkpoint=self.checkpoints / f"{name}.npz",
            checkpoint_steps=self.training.checkpoint_steps,
            logger=tensorboard.PhaseLogger(
                self.logs / name, self.training.log_steps, "actor", omega is not None, histograms
            ),
        ).run()


class CriticReport:
    """A critic against the frozen actor's Monte-Carlo return on validation sessions (METHOD 8)."""

    def __init__(self, problem: Problem, frozen: Frozen, gamma: float, critic: Critic) -> None:
        table = problem.validation
        self.names = problem.names
        self.records = table.records
        self.returns = frozen_returns(table, frozen.validation, gamma)[self.records]
        actions = 1.0 / (1.0 + np.exp(-frozen.validation))
        self.predictor = Predictor(critic, table, {"actions": actions})

    def metrics(self) -> dict[str, float]:
        """`fit` (negative mean squared error, higher is better), and for every task `correlation/<task>`,
        `bias/<task>` (mean of Q - return), `q_mean/<task>`, `return_mean/<task>`."""
        q = self.predictor()[self.records]
        result = {"fit": -float(np.mean((q - self.returns) ** 2))}
        for k, task in enumerate(self.names):
            result[f"correlation/{task}"] = correlation(q[:, k], self.returns[:, k])
            result[f"bias/{task}"] = float(np.mean(q[:, k] - self.returns[:, k]))
            result[f"q_mean/{task}"] = float(q[:, k].mean())
            result[f"return_mean/{task}"] = float(self.returns[:, k].mean())
        return result

    def plot(self, epoch: int) -> None:
        """Draws Q against the return into the writer that is open."""
        tensorboard.write_value_plot(self.predictor()[self.records], self.returns, self.names, epoch)


def frozen_returns(table: RecordTable, logits: np.ndarray, gamma: float) -> np.ndarray:
    """Monte-Carlo returns [R, K] of an actor with these logits [R, K] (METHOD 8)."""
    reward = -cross_entropy(table.labels, logits).numpy()
    return discounted_returns(reward, table.done, table.lookahead, gamma)


def validation_metrics(table: RecordTable, logits: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """`auc` (mean over tasks), `auc/<task>`, `logloss/<task>` on the real records of a table."""
    records = table.records
    labels, logits = table.labels[records], logits[records]
    losses = cross_entropy(labels, logits).numpy()
    result = {}
    for k, name in enumerate(names):
        result[f"auc/{name}"] = float(auc(labels[:, k], logits[:, k]))
        result[f"logloss/{name}"] = float(losses[:, k].mean(dtype=np.float64))
    return {"auc": float(np.mean([result[f"auc/{name}"] for name in names])), **result}


def critic_name(config: CriticConfig) -> str:
    """Equal critics share a name, and so a training."""
    return f"critic-gamma{config.gamma:g}-{digest_json(config.model_dump())[:6]}"


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; 0 where one side is constant."""
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def weights_of(layer: keras.layers.Layer) -> Weights:
    """A copy of a layer's weights."""
    return [np.array(variable) for variable in layer.weights]


def compile_model(model: keras.Model, layer: keras.layers.Layer, config: PhaseConfig) -> None:
    """Compiles `model` with Adam on the variables of `layer`; never XLA: on CPU it is many times slower."""
    optimizer = keras.optimizers.Adam(config.learning_rate, weight_decay=config.weight_decay or None)
    optimizer.build(layer.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=False)


def seeds_of(layer: keras.layers.Layer) -> list[Any]:
    """Variables that are no weights: the states of seed generators."""
    weights = {id(variable) for variable in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def build(layer: keras.layers.Layer, spec: InputSpec) -> None:
    """Creates the variables of a backbone by calling it on one record of padding."""
    example: dict[str, np.ndarray] = {name: np.zeros(1, np.int32) for name, _ in spec.categorical}
    example |= {name: np.zeros((1, most), np.int32) for name, most in spec.several}
    example |= {name: np.zeros(1, np.float32) for name in spec.numeric}
    if spec.history is not None:
        names, shape = (history_input(name) for name in spec.history.names), (1, spec.history.length)
        example |= {name: np.zeros(shape, np.int32) for name in names}
    layer(example, training=False)
