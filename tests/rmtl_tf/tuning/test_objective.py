"""What a trial is judged by, and what it tells of its epochs."""

from __future__ import annotations

import math

import optuna
import pytest

from rmtl_tf.config import parse_config
from rmtl_tf.errors import UserError
from rmtl_tf.tuning.objective import FINETUNE, EpochReporter, final_value, trial_training
from tests.rmtl_tf.tuning.studies import settings

ARMS = ["control", "paper", {"name": "actor", "agent": "ddpg"}]


def training():
    return parse_config({"name": "shop", "training": {"arms": ARMS}})


def reporter(arm, metric="auc", pruner=None):
    trial = optuna.create_study(direction="maximize", pruner=pruner or optuna.pruners.NopPruner()).ask()
    return EpochReporter(trial, trial_training(training(), arm), settings(arm=arm, metric=metric))


def epoch(number, value):
    return {"epoch": number, "loss": 0.3, "auc": value, "auc/buy": value / 2, "logloss/buy": 1 - value}


def steps(watching):
    return watching.trial.study.trials[0].intermediate_values


@pytest.mark.parametrize(
    ("arm", "names"),
    [("control", ["control"]), ("paper", ["control", "paper"]), ("actor", ["control", "actor"])],
)
def test_trial_trains_only_the_control_and_the_arm(arm, names):
    trained = trial_training(training(), arm)
    assert [one.name for one in trained.arms] == names
    assert trained.export == arm


def test_epochs_of_pretraining_and_of_the_arm_are_told_and_those_of_others_are_not():
    watching = reporter("paper")
    for phase in ("pretrain", "critic-x", "finetune-control", "finetune-paper", "finetune-paper-power1"):
        for number in (1, 2):
            watching(phase, epoch(number, 0.5 + number / 10))
    expected = {1: 0.6, 2: 0.7, FINETUNE + 1: 0.6, FINETUNE + 2: 0.7}
    assert steps(watching) == expected
    assert watching.epochs == [
        ("pretrain", 1, 0.6),
        ("pretrain", 2, 0.7),
        ("finetune-paper", 1, 0.6),
        ("finetune-paper", 2, 0.7),
    ]


def test_arm_that_starts_from_new_weights_is_not_compared_by_the_pretraining():
    watching = reporter("actor")
    watching("pretrain", epoch(1, 0.9))
    watching("scratch-actor", epoch(1, 0.6))
    assert steps(watching) == {FINETUNE + 1: 0.6}


@pytest.mark.parametrize(("metric", "value"), [("auc/buy", 0.4), ("logloss/buy", 0.2)])
def test_metric_of_a_task_is_told_where_it_is_what_counts(metric, value):
    watching = reporter("control", metric)
    watching("pretrain", epoch(1, 0.8))
    assert steps(watching)[1] == pytest.approx(value)


def test_training_ends_with_the_pruners_exception():
    watching = reporter("control", pruner=optuna.pruners.ThresholdPruner(lower=0.5))
    watching("pretrain", epoch(1, 0.6))
    with pytest.raises(optuna.TrialPruned):
        watching("pretrain", epoch(2, 0.4))


def run(**validation):
    return {"arms": [{"name": "pretrained", "validation": {}}, {"name": "control", "validation": validation}]}


def test_final_value_is_that_of_the_weights_the_arm_ended_with():
    assert final_value(run(auc=0.7, **{"auc/buy": 0.6}), settings(metric="auc/buy")) == 0.6


def test_unknown_task_is_refused_with_the_nearest_metric():
    with pytest.raises(UserError, match='no validation metric "auc/bay"; did you mean "auc/buy"'):
        final_value(run(auc=0.7, **{"auc/buy": 0.6, "seconds": 3}), settings(metric="auc/bay"))


def test_metric_that_is_not_defined_is_an_error_for_a_person():
    with pytest.raises(UserError, match="one class of label"):
        final_value(run(auc=math.nan), settings())
