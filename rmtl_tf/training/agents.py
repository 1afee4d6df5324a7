"""Arms that learn actor and critic side by side: `joint`, `ddpg`, `td3_bc`."""

from __future__ import annotations

from rmtl_tf.config import ArmConfig
from rmtl_tf.layers.seeds import derive_seed
from rmtl_tf.rl.actor_critic import Networks
from rmtl_tf.rl.agents import AGENTS
from rmtl_tf.training.checkpoint import assign
from rmtl_tf.training.networks import copy_embeddings, seeds_of, weights_of
from rmtl_tf.training.phases import Trained, Trainer
from rmtl_tf.training.predict import OmegaPredictor, ValuePredictor
from rmtl_tf.training.problem import Frozen
from rmtl_tf.training.validation import CriticReport, validation_metrics
from rmtl_tf.weighting import build_weighting


def phase_name(arm: ArmConfig) -> str:
    """Of the phase, its checkpoint and its logs: `finetune-<arm>`, or `scratch-<arm>`."""
    return f"{'finetune' if arm.agent.start == 'pretrained' else 'scratch'}-{arm.name}"


def train_agent(trainer: Trainer, frozen: Frozen, arm: ArmConfig, incumbent: float) -> Trained:
    """One phase in place of B and C. Batches come in the order of phase C.

    From theta0 the arm is optimised as `training.finetune` says and theta0 is the first to beat, as for every
    other arm; the critic starts from its embeddings. From scratch it is optimised as `training.pretrain`
    says, and its best epoch counts whatever theta0 reaches. The agent's own learning rate goes first.

    After every epoch, Q is compared with the Monte-Carlo return of the actor as it is then.

    Args:
        incumbent: validation mean AUC of theta0.
    """
    problem, training, settings = trainer.problem, trainer.training, arm.agent
    pretrained = settings.start == "pretrained"
    limits = training.finetune if pretrained else training.pretrain
    critic_config = training.critic_of(arm)
    networks = make_networks(trainer, frozen, arm)
    actor, critic = networks.actor, networks.critic
    weighting = {"weighting": build_weighting(arm.weighting, problem.names)} if settings.WEIGHS else {}
    seed = derive_seed(trainer.seeds["C"], "noise")
    kind = AGENTS[settings.name]
    agent = kind(networks, problem.names, settings, critic_config, seed, **weighting)
    agent.optimise(limits, training.optimizer)
    extras = trainer.columns(agent.NEEDS, frozen, critic_config.gamma)
    omega = OmegaPredictor(agent.agent, problem.train, extras) if settings.WEIGHS else None

    predictor = ValuePredictor(actor, critic, problem.validation)
    held_out = CriticReport(problem.validation, problem.names, critic_config.gamma, predictor)
    draw = trainer.histograms(omega)

    def evaluate() -> dict[str, float]:
        values = {f"critic/{key}": value for key, value in held_out.metrics().items()}
        return {**validation_metrics(problem.validation, held_out.logits, problem.names), **values}

    def pictures(epoch: int) -> None:
        draw(epoch)
        held_out.plot(epoch)

    name = phase_name(arm)
    progress = trainer.phase(
        name,
        agent,
        seed="C",
        limits=(limits.max_epochs, limits.patience),
        kept=actor.weights,
        state=[*critic.weights, *seeds_of(actor), *seeds_of(critic), *agent.state_variables],
        extras=extras,
        evaluate=evaluate,
        monitor="auc",
        incumbent=incumbent if pretrained else None,
        logger=trainer.logger(name, "actor", omega is not None, pictures),
    ).run()
    return Trained(weights_of(actor), progress, None if omega is None else omega())


def make_networks(trainer: Trainer, frozen: Frozen, arm: ArmConfig) -> Networks:
    """The networks of an arm as they start."""
    pretrained = arm.agent.start == "pretrained"
    actor, target = trainer.backbone("C"), trainer.backbone("C")  # the agent makes the targets copies
    if pretrained:
        assign(actor.weights, frozen.weights)
    config = trainer.training.critic_of(arm)
    form = AGENTS[arm.agent.name].FORM or config.form
    critic, target_critic = trainer.new_critics(frozen, config.model_copy(update={"form": form}), actor)
    if pretrained:
        copy_embeddings(actor, critic)
    return Networks(actor, target, critic, target_critic)
