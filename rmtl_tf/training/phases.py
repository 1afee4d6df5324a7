"""The three phases of RMTL (METHOD 5): pretrain the actor, learn the critics, fine-tune every arm.

All arms start from the same checkpoint with the same order of batches and the same dropout, so the
difference between an arm and the control is its weighting's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from rmtl_tf.backbones import build_backbone
from rmtl_tf.config import ArmConfig, CriticConfig, ModelConfig, PhaseConfig, TrainingConfig, WeightingConfig
from rmtl_tf.files import digest_json
from rmtl_tf.layers.seeds import derive_seed
from rmtl_tf.optimizers.build import touched_rows_only
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.critic_base import Critic
from rmtl_tf.rl.critic_forms import build_critic
from rmtl_tf.rl.critic_learner import CriticLearner
from rmtl_tf.training import tensorboard
from rmtl_tf.training.checkpoint import assign
from rmtl_tf.training.cluster import Cluster
from rmtl_tf.training.loop import Phase, Progress
from rmtl_tf.training.networks import (
    build,
    compile_model,
    compute_in,
    copy_embeddings,
    release,
    seeds_of,
    weights_of,
)
from rmtl_tf.training.power import PowerChoice
from rmtl_tf.training.predict import OmegaPredictor, Predictor
from rmtl_tf.training.problem import Frozen, Problem, Weights
from rmtl_tf.training.profiling import PhaseProfile
from rmtl_tf.training.validation import CriticReport, returns_of, validation_metrics
from rmtl_tf.weighting import build_weighting
from rmtl_tf.weighting.constant import Constant
from rmtl_tf.weighting.gradient_method import GradientMethod


@dataclass(frozen=True)
class Trained:
    """What training an arm left.

    Attributes:
        weights: of the actor.
        omega: [n, K] of the train records, under theta0; of `joint`, whose critic knows nothing at the start,
            under the actor and the critic it ends with; None where the agent weighs no records.
        power: how validation chose the powers; None where it did not.
    """

    weights: Weights
    progress: Progress
    omega: np.ndarray | None
    power: PowerChoice | None = None


class Trainer:
    """Runs the phases of one training; every phase resumes from its checkpoint.

    Args:
        problem: data, inputs and tasks.
        model, training: configuration.
        seed: of weights, dropout and the order of batches.
        checkpoints: folder of the phases' checkpoints.
        logs: TensorBoard folder.
        cluster: where batches are computed; None: here.
    """

    def __init__(
        self,
        problem: Problem,
        model: ModelConfig,
        training: TrainingConfig,
        seed: int,
        checkpoints: Path,
        logs: Path,
        cluster: Cluster | None = None,
    ) -> None:
        self.cluster = cluster or Cluster()
        self.problem, self.model, self.training = problem, model, training
        self.checkpoints, self.logs = checkpoints, logs
        self.seeds = {phase: derive_seed(seed, phase) for phase in "ABC"}

    def backbone(self, phase: str) -> keras.layers.Layer:
        """A new backbone, built; its weights and dropout follow the phase's seed."""
        release(self.table_bytes)
        layer = build_backbone(self.model, self.problem.spec, self.problem.tasks, self.seeds[phase])
        build(layer, self.problem.spec)
        return layer

    @property
    def table_bytes(self) -> int:
        """Size of one embedding table of all inputs."""
        spec = self.problem.spec
        rows = sum(spec.layout(name).rows for name, _ in spec.categorical)
        return 4 * rows * self.model.embedding_dim

    def pretrain(self, start: Weights | None = None) -> tuple[Frozen, Progress]:
        """Phase A: plain mean of the task losses, early stopping on validation mean AUC.

        Args:
            start: weights of an earlier model, which stay where no epoch beats them; None: new ones.
        """
        actor = self._trained_actor("A")
        agent = Agent(actor, build_weighting(WeightingConfig()), self.problem.names)
        before: dict[str, float] | None = None
        if start is not None:
            assign(agent.backbone.weights, start)
            before = self.validate(start)
        config, incumbent = self.training.pretrain, None if before is None else before["auc"]
        progress = self._train_actor("pretrain", agent, "A", config, incumbent, None)
        progress.start = before
        problem, backbone = self.problem, agent.backbone
        logits = [Predictor(backbone, table)() for table in (problem.train, problem.validation)]
        return Frozen(weights_of(backbone), *logits), progress

    def critic(self, frozen: Frozen, config: CriticConfig, arms: Sequence[str]) -> tuple[Critic, Progress]:
        """Phase B: a critic of the frozen actor, its embeddings started from the actor's; `arms` share it.

        Early stopping on the mean squared error against the Monte-Carlo return of validation sessions,
        which the true value function minimises; a TD loss can be small for a wrong critic.
        """
        online, target = self._start_critics(frozen, config)
        release(self.table_bytes)
        learner = CriticLearner(
            online,
            target,
            self.problem.names,
            config.gamma,
            config.beta,
            kind=config.target,
            n=config.n,
            trace=config.trace,
            loss=config.loss,
            touched_rows_only=touched_rows_only(self.training.optimizer),
        )
        optimised = PhaseConfig(learning_rate=config.learning_rate, weight_decay=0.0)
        compile_model(learner, online, optimised, self.training.optimizer, followed=True)
        held_out = self._held_out(online, frozen, config.gamma)
        phase = self.phase(
            critic_name(config),
            learner,
            seed="B",
            limits=(config.max_epochs, config.patience),
            kept=online.weights,
            state=[*seeds_of(online), *learner.state_variables, *learner.optimizer.variables],
            extras={"logits": frozen.train},
            evaluate=held_out.metrics,
            monitor="fit",
            logger=self.logger(tensorboard.critic_run(arms), "critic", extra=held_out.plot),
        )
        progress = phase.run()
        learner.following.release()
        return online, progress

    def _trained_actor(self, phase: Literal["A", "C"]) -> keras.layers.Layer:
        """The backbone of a phase, which computes in `training.precision`."""
        actor = self.backbone(phase)
        if self.training.precision != "float32":
            compute_in(self.training.precision, actor)
        return actor

    def _start_critics(self, frozen: Frozen, config: CriticConfig) -> tuple[Critic, Critic]:
        """Those of `new_critics`, the first with the frozen actor's embeddings; the actor is not kept."""
        actor = self.backbone("A")
        assign(actor.weights, frozen.weights)
        online, target = self.new_critics(frozen, config, actor)
        copy_embeddings(actor, online)
        return online, target

    def new_critics(
        self, frozen: Frozen, config: CriticConfig, actor: keras.layers.Layer
    ) -> tuple[Critic, Critic]:
        """A critic for `actor`, which answers the frozen actor's mean return, and another to become its
        target."""
        width = self.embedding_width(actor)
        problem = self.problem
        online, target = (
            build_critic(config, problem.spec, len(problem.tasks), width, self.seeds["B"]) for _ in range(2)
        )
        returns = returns_of(problem.train, frozen.train, config.gamma)
        records = problem.train.records
        own = returns[records].sum(axis=0)
        sums = self.cluster.gather(np.stack([own, np.full(own.shape, len(records))]))
        values, counts = np.sum(sums, axis=0)
        online.start_from(values / counts)
        return online, target

    def embedding_width(self, actor: keras.layers.Layer | None = None) -> int:
        """The width of a critic's embeddings: the actor's. Single Task has K tables side by side, and the
        critic takes them all, at their joint width."""
        actor = self.backbone("A") if actor is None else actor
        return actor.embedding.width if hasattr(actor, "embedding") else self.model.embedding_dim

    def judge(self, critic: Critic, frozen: Frozen, gamma: float, arms: Sequence[str]) -> dict[str, float]:
        """The metrics of `CriticReport` for a critic that was trained elsewhere, with discount `gamma`; they
        are logged as those of a critic trained here."""
        held_out = self._held_out(critic, frozen, gamma)
        metrics = held_out.metrics()
        logger = self.logger(tensorboard.critic_run(arms), "critic", extra=held_out.plot)
        if logger is not None:
            logger.on_evaluation(0, metrics)
        return metrics

    def _held_out(self, critic: Critic, frozen: Frozen, gamma: float) -> CriticReport:
        actions = 1.0 / (1.0 + np.exp(-frozen.validation))
        predictor = Predictor(critic, self.problem.validation, {"actions": actions})
        answers = lambda: (frozen.validation, predictor())  # noqa: E731
        return CriticReport(self.problem.validation, self.problem.names, gamma, answers)

    def finetune(
        self,
        frozen: Frozen,
        arm: ArmConfig,
        weighting: WeightingConfig,
        critic: Critic | None,
        incumbent: float,
        suffix: str = "",
    ) -> Trained:
        """Phase C: from theta0 with a fresh optimizer, losses weighted by omega; omega under theta0 is kept.

        Args:
            weighting: the arm's, with powers that are numbers.
            incumbent: the pretrained validation mean AUC, the first to beat; if no epoch does, theta0 stays.
            suffix: of the phase's name, where an arm is fine-tuned several times.
        """
        names = self.problem.names
        actor = self._trained_actor("C")
        agent = Agent(actor, build_weighting(weighting, names), names, critic)
        assign(agent.backbone.weights, frozen.weights)
        extras = self.columns(agent.weighting.NEEDS, frozen, self.training.critic_of(arm).gamma)
        table, omega = self.problem.train, None
        before = np.ones((len(table.records), len(names)), np.float32)
        if not isinstance(agent.weighting, Constant | GradientMethod):  # of these omega is 1
            omega = OmegaPredictor(agent, table, extras)
            before = omega()
        before = np.concatenate(self.cluster.gather(before))
        progress = self._train_actor(
            f"finetune-{arm.name}{suffix}",
            agent,
            "C",
            self.training.finetune,
            incumbent,
            omega,
            extras,
        )
        return Trained(weights_of(agent.backbone), progress, before)

    def validate(self, weights: Weights) -> dict[str, float]:
        """The validation metrics of an actor with these weights."""
        actor = self.backbone("C")
        assign(actor.weights, weights)
        table = self.problem.validation
        return validation_metrics(table, Predictor(actor, table)(), self.problem.names)

    def columns(self, needs: frozenset[str], frozen: Frozen, gamma: float) -> dict[str, np.ndarray]:
        """The columns of the train table that a weighting or agent with these `NEEDS` reads."""
        extras = {}
        if "returns" in needs:
            extras["returns"] = returns_of(self.problem.train, frozen.train, gamma).astype(np.float32)
        if "frozen" in needs:
            extras["frozen_logits"] = frozen.train
        return extras

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
        compile_model(agent, agent.backbone, config, self.training.optimizer)
        predictor = Predictor(agent.backbone, self.problem.validation)
        return self.phase(
            name,
            agent,
            seed=phase,
            limits=(config.max_epochs, config.patience),
            kept=agent.backbone.weights,
            state=[*seeds_of(agent.backbone), *agent.optimizer.variables, *agent.state_variables],
            extras=extras,
            evaluate=lambda: validation_metrics(self.problem.validation, predictor(), self.problem.names),
            monitor="auc",
            incumbent=incumbent,
            logger=self.logger(name, "actor", omega is not None, self.histograms(omega)),
        ).run()

    def histograms(self, omega: OmegaPredictor | None) -> Callable[[int], None]:
        """Draws omega after an epoch, if there is one."""

        def draw(epoch: int) -> None:
            if omega is not None:
                tensorboard.write_histograms(omega(sample=20_000), self.problem.names, epoch)

        return draw

    def logger(
        self,
        run: str,
        subject: Literal["actor", "critic"],
        weighted: bool = False,
        extra: Callable[[int], None] | None = None,
    ) -> tensorboard.PhaseLogger | None:
        """The TensorBoard logger of a phase; the chief's process alone has one."""
        if not self.cluster.is_chief:
            return None
        return tensorboard.PhaseLogger(self.logs / run, self.training.log_steps, subject, weighted, extra)

    def phase(
        self,
        name: str,
        model: Any,
        *,
        seed: str,
        limits: tuple[int, int],
        kept: Sequence[Any],
        state: Sequence[Any],
        extras: Mapping[str, np.ndarray] | None,
        evaluate: Callable[[], dict[str, float]],
        monitor: str,
        logger: tensorboard.PhaseLogger | None,
        incumbent: float | None = None,
    ) -> Phase:
        """A phase on the train table; `limits` are epochs and patience, the rest as in `Phase`."""
        return Phase(
            name,
            model,
            kept=kept,
            state=state,
            table=self.problem.train,
            extras=extras,
            batch_size=self.training.batch_size,
            shuffle_records=self.training.shuffle_records,
            seed=self.seeds[seed],
            max_epochs=limits[0],
            patience=limits[1],
            evaluate=evaluate,
            monitor=monitor,
            incumbent=incumbent,
            checkpoint=self.checkpoints / f"{name}.npz",
            checkpoint_steps=self.training.checkpoint_steps,
            steps_per_execution=self.training.steps_per_execution,
            logger=logger,
            profile=None if logger is None else PhaseProfile(logger.directory),
            cluster=self.cluster,
            parts=self.problem.parts,
        )


def critic_name(config: CriticConfig) -> str:
    """Equal critics share a name, and so a training."""
    return f"critic-gamma{config.gamma:g}-{digest_json(config.model_dump())[:6]}"
