"""Studies for tests: a search over two fields, and trials without a training."""

from __future__ import annotations

from optuna.trial import TrialState

from rmtl_tf.config import TuneConfig
from rmtl_tf.tuning.objective import FINETUNE
from rmtl_tf.tuning.study import ERROR, Study

SPACE = {
    "model.dropout": {"kind": "float", "low": 0.0, "high": 0.8},
    "model.backbone": {"kind": "categorical", "choices": ["ple", "mmoe"]},
}


def settings(**changed):
    return TuneConfig.model_validate({"trials": 12, "random_trials": 4, "space": SPACE, **changed})


def score(values):
    """A metric with a known best: 0.9 at dropout 0.3 with mmoe."""
    return 0.9 - abs(values["model.dropout"] - 0.3) - 0.05 * (values["model.backbone"] == "ple")


def finish(study: Study, trial, values, state=TrialState.COMPLETE, error=None):
    """Ends a trial as a worker does."""
    if error is not None:
        trial.set_user_attr(ERROR, error)
        study.study.tell(trial, state=TrialState.FAIL)
        return
    for step in (1, 2, FINETUNE + 1):
        trial.report(score(values) - 0.01 / (step % FINETUNE), step)
    done = state == TrialState.COMPLETE
    study.study.tell(trial, score(values) if done else None, state=state)


def work(study: Study, limit=1000):
    """Takes and finishes up to `limit` trials; their values in order."""
    seen = []
    while len(seen) < limit and (taken := study.take()) is not None:
        finish(study, *taken)
        seen.append(taken[1])
    return seen
