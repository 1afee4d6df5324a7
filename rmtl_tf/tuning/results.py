"""What became of the trials of a study, for people: numbers, words, a configuration to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rmtl_tf import console
from rmtl_tf.config import TuneConfig
from rmtl_tf.tuning.objective import FINETUNE
from rmtl_tf.tuning.space import text, values_of

if TYPE_CHECKING:
    from rmtl_tf.tuning.study import Study

COMPLETE, PRUNED, FAILED = "finished", "pruned", "failed"


@dataclass(frozen=True)
class Outcome:
    """One trial.

    Attributes:
        number: Optuna's.
        state: `finished`, `pruned` or `failed`.
        values: path of a field -> its value.
        value: the metric it is judged by; None unless it finished.
        pretraining, own: the metric after each epoch of the two phases, as far as it came.
        error: why it failed.
    """

    number: int
    state: str
    values: Mapping[str, Any]
    value: float | None
    pretraining: tuple[float, ...]
    own: tuple[float, ...]
    seconds: float
    error: str


@dataclass(frozen=True)
class Results:
    """A study so far.

    Attributes:
        trials: those that ended, by number.
        importance: path of a field -> share of the metric's variance it explains; empty where not known.
        configured: number of the trial that is the configuration as it stood; None where it lay outside.
    """

    tune: TuneConfig
    trials: tuple[Outcome, ...]
    importance: Mapping[str, float]
    configured: int | None

    @property
    def ranked(self) -> list[Outcome]:
        """Finished trials, the best first, of equals the earliest."""
        sign = -1 if self.tune.maximise else 1
        done = [trial for trial in self.trials if trial.value is not None]
        return sorted(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def best(self) -> Outcome | None:
        return self.ranked[0] if self.ranked else None

    def of(self, state: str) -> list[Outcome]:
        return [trial for trial in self.trials if trial.state == state]


def results(study: Study) -> Results:
    """What the study's storage holds of trials that ended."""
    trials = tuple(_outcome(study, trial) for trial in study.finished)
    return Results(study.tune, trials, _importance(study), study.configured)


def _outcome(study: Study, trial: Any) -> Outcome:
    state = {"COMPLETE": COMPLETE, "PRUNED": PRUNED}.get(trial.state.name, FAILED)
    steps = sorted(trial.intermediate_values.items())
    took = trial.datetime_complete - trial.datetime_start if trial.datetime_start else None
    return Outcome(
        trial.number,
        state,
        values_of(trial.params, study.tune.space),
        trial.value if state == COMPLETE else None,
        tuple(value for step, value in steps if step <= FINETUNE),
        tuple(value for step, value in steps if step > FINETUNE),
        took.total_seconds() if took else 0.0,
        study.error(trial),
    )


def _importance(study: Study) -> dict[str, float]:
    """By fANOVA (Hutter, Hoos, Leyton-Brown, ICML 2014), as Optuna has it: from finished trials alone."""
    import optuna

    done = [trial for trial in study.finished if trial.state.name == "COMPLETE"]
    if len(done) < 4 or len({trial.value for trial in done}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=study.tune.seed)
    return dict(optuna.importance.get_param_importances(study.study, evaluator=evaluator))


def summary(found: Results, commands: Sequence[tuple[str, str]]) -> str:
    """What a person reads at the end.

    Args:
        commands: (what it is for, command) of what comes next.
    """
    counts = ", ".join(f"{len(found.of(state))} {state}" for state in (COMPLETE, PRUNED, FAILED))
    best = found.best
    lines = ["", f"Study {found.tune.study}: {len(found.trials)} trials, {counts}."]
    if best is None or best.value is None:
        return "\n".join(lines)
    lines += [f"Best: trial {best.number}, {found.tune.arm}, validation {found.tune.metric} {best.value:.4f}"]
    as_configured = [trial for trial in found.trials if trial.number == found.configured]
    if as_configured and as_configured[0].value is not None and as_configured[0] != best:
        lines[-1] += f" (as configured: {as_configured[0].value:.4f})"
    rows = [[path, text(value)] for path, value in best.values.items()]
    lines += ["", *console.table(["field", "value"], rows, indent=2, left=2), ""]
    for purpose, command in commands:
        lines += [purpose, f"  $ {command}"]
    return "\n".join(lines)
