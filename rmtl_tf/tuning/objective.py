"""What a trial is judged by: a validation metric of one arm, after every epoch and at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna

from rmtl_tf.config import RunConfig, TrainingConfig, TuneConfig
from rmtl_tf.errors import UserError, nearest

if TYPE_CHECKING:
    from optuna.trial import Trial

FINETUNE = 10_000  # steps of epochs after pretraining begin above: no phase has more epochs


def trial_training(config: RunConfig, arm: str) -> TrainingConfig:
    """The configuration's training with no more arms than `arm` needs: what an arm becomes does not depend on
    the others. The control always stands first."""
    kept = tuple(one for one in config.training.arms if one.name in ("control", arm))
    return config.training.model_copy(update={"arms": kept, "export": arm})


class EpochReporter:
    """Observer of a training (`rmtl_tf.training.observing`): tells the trial every epoch of the arm, and
    before them those of the pretraining it starts from.

    The number of a step tells the phase: epoch e of pretraining is step e, of the arm's own training
    `FINETUNE` + e, so that trials are compared at the same point of the same phase however long the first
    was.

    Attributes:
        epochs: (phase, epoch, value) so far.
    """

    def __init__(self, trial: Trial, training: TrainingConfig, tune: TuneConfig) -> None:
        self.trial, self.metric = trial, tune.metric
        (arm,) = [one for one in training.arms if one.name == tune.arm]
        self.offsets = {f"finetune-{arm.name}": FINETUNE, f"scratch-{arm.name}": FINETUNE}
        if arm.agent.start == "pretrained":
            self.offsets["pretrain"] = 0
        self.epochs: list[tuple[str, int, float]] = []

    def __call__(self, phase: str, epoch: Mapping[str, float]) -> None:
        """Raises:
        optuna.TrialPruned: the pruner sees no hope.
        """
        if phase not in self.offsets:
            return
        value = measured(epoch, self.metric)
        number = int(epoch["epoch"])
        self.epochs.append((phase, number, value))
        self.trial.report(value, self.offsets[phase] + number)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def final_value(run: Mapping[str, Any], tune: TuneConfig) -> float:
    """The metric of the weights the arm ended with.

    Args:
        run: content of `run.json`.
    """
    (entry,) = [arm for arm in run["arms"] if arm["name"] == tune.arm]
    return measured(entry["validation"], tune.metric)


def measured(metrics: Mapping[str, float], name: str) -> float:
    """Raises:
    UserError: there is no such metric (the nearest is named), or it is not defined.
    """
    if name not in metrics:
        known = [key for key in metrics if key.partition("/")[0] in ("auc", "logloss")]
        raise UserError(f'tune.metric: no validation metric "{name}"; {nearest(name, known)}')
    value = float(metrics[name])
    if not math.isfinite(value):
        raise UserError(
            f"tune.metric: validation {name} is {value}: not defined where validation records have one class "
            "of label. Take another metric, or more data."
        )
    return value
