"""One arm from theta0 to its weights, whatever its agent and weighting."""

from __future__ import annotations

from rmtl_tf.config import BY_VALIDATION, ArmConfig, TrainingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.rl.critic_base import Critic
from rmtl_tf.training.agents import train_agent
from rmtl_tf.training.phases import Trained, Trainer
from rmtl_tf.training.power import choose_powers
from rmtl_tf.training.problem import Frozen
from rmtl_tf.training.strategy import check_strategy
from rmtl_tf.weighting import WEIGHTINGS, build_weighting


def check_arms(training: TrainingConfig, tasks: tuple[str, ...]) -> None:
    """Refuses, before anything is trained, what does not fit the tasks or the agent.

    Raises:
        UserError: naming the arm.
    """
    check_strategy(training)
    for arm in training.arms:
        weighting = arm.weighting
        if weighting.power == BY_VALIDATION:
            weighting = weighting.model_copy(update={"power": 1.0})
        try:
            build_weighting(weighting, tasks)
        except UserError as error:
            raise UserError(f"training.arms, {arm.name}: {error}") from None
        if arm.agent.name == "joint" and "q" not in WEIGHTINGS[weighting.name].NEEDS:
            raise UserError(
                f"training.arms, {arm.name}: the agent joint learns a critic for a weighting that reads it, "
                f"received weighting {weighting.name}, which does not. Choose one that does, such as rmtl."
            )


def train_arm(
    trainer: Trainer, frozen: Frozen, arm: ArmConfig, critic: Critic | None, incumbent: float
) -> Trained:
    """Trains an arm.

    Args:
        critic: of the frozen actor, where the arm's weighting reads one and its agent is `rmtl`.
        incumbent: the pretrained validation mean AUC.
    """
    if arm.agent.name != "rmtl":
        return train_agent(trainer, frozen, arm, incumbent)
    if arm.weighting.power == BY_VALIDATION:
        return finetune_by_validation(trainer, frozen, arm, critic, incumbent)
    return trainer.finetune(frozen, arm, arm.weighting, critic, incumbent)


def finetune_by_validation(
    trainer: Trainer, frozen: Frozen, arm: ArmConfig, critic: Critic | None, incumbent: float
) -> Trained:
    """Fine-tunes with every candidate power, then with the best of them for each task.

    Every candidate is a phase of its own, `finetune-<arm>-power<p>`; what counts of it are the weights it
    ends with, those of theta0 where no epoch beat it.
    """
    names = trainer.problem.names

    def validate(power: float) -> dict[str, float]:
        weighting = arm.weighting.model_copy(update={"power": power})
        done = trainer.finetune(frozen, arm, weighting, critic, incumbent, suffix=f"-power{power:g}")
        metrics = trainer.validate(done.weights)
        return {task: metrics[f"auc/{task}"] for task in names}

    choice = choose_powers(arm.weighting.power_candidates, names, validate)
    weighting = arm.weighting.model_copy(update={"power": choice.chosen})
    done = trainer.finetune(frozen, arm, weighting, critic, incumbent)
    return Trained(done.weights, done.progress, done.omega, choice)
