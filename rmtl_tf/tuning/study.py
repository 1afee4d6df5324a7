"""A study on disk: `<root>/tuning/<study>/study.db`, and who may take the next trial.

Several processes work on one study. A trial whose process died stays behind as running: the next start
finds it, marks it failed, and its values are tried again, before new ones. What the sampler proposes depends
only on its seed and on the trials that ended, so one worker proposes the same whether it was killed or not.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from rmtl_tf import locks
from rmtl_tf.config import TuneConfig
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_json
from rmtl_tf.tuning.space import suggest

DATABASE = "study.db"
LOCK = ".lock"  # held by the one command that leads the study
_NEXT = ".next"  # held while a trial is taken
ATTEMPTS = 3  # of the same values, where processes die
# Of a trial: why it failed, how often its values were tried, who trains it, whether it is the configuration.
ERROR, _ATTEMPT, _PROCESS, _CONFIGURED = "error", "attempt", "process", "configured"
_IDENTITY, _DEAD, _LOST = "identity", "dead", "lost"  # of the study; numbers of trials: tried again, given up

log = logging.getLogger(__name__)


class Study:
    """A study that can be asked for trials.

    Args:
        folder: of the study; created.
        tune: its settings.
        worker: which of several workers this is; the sampler of each has a seed of its own.
    """

    def __init__(self, folder: Path, tune: TuneConfig, worker: int = 0) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.tune, self.worker = folder, tune, worker
        # Workers wait for one another at the file.
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{folder.resolve() / DATABASE}", engine_kwargs={"connect_args": {"timeout": 120}}
        )
        self.study = optuna.create_study(
            storage=storage,
            study_name=tune.study,
            direction="maximize" if tune.maximise else "minimize",
            pruner=_pruner(tune),
            load_if_exists=True,
        )

    def check(self, identity: Mapping[str, Any]) -> None:
        """Refuses to go on with a study of something else.

        Args:
            identity: name -> what must stay as it was at the start, JSON-able.

        Raises:
            UserError: naming what is different.
        """
        known = self.study.user_attrs.get(_IDENTITY)
        if known is None:
            self.study.set_user_attr(_IDENTITY, dict(identity))
            return
        changed = [name for name in identity if identity[name] != known.get(name)]
        if changed:
            raise UserError(
                f"{self.folder}: this study was begun with another {', '.join(changed)}: its trials do not "
                "compare with new ones. Give the new study another name (--set tune.study=NAME), or remove "
                "the folder."
            )

    @property
    def trials(self) -> list[FrozenTrial]:
        """All of them but those whose process died, which are tried again."""
        dead = self.study.user_attrs.get(_DEAD, [])
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.number not in dead]

    @property
    def finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state.is_finished()]

    @property
    def best(self) -> FrozenTrial | None:
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        sign = 1 if self.tune.maximise else -1
        return max(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def take(self) -> tuple[Trial, dict[str, Any]] | None:
        """The next trial and the values of its fields; None where all are taken."""
        with locks.exclusive(self.folder / _NEXT):
            trials = self.trials
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and len(trials) >= self.tune.trials:
                return None
            self.study.sampler = self._sampler(len(trials))
            trial = self.study.ask()
            trial.set_user_attr(_PROCESS, os.getpid())
            return trial, suggest(trial, self.tune.space)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = int(digest_json([self.tune.seed, self.worker, number])[:8], 16)
        if self.tune.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.tune.random_trials)

    def begin_with(self, params: Mapping[str, Any]) -> None:
        """Puts these values, the configuration as it stands, first, if the study has no trial yet."""
        if not self.study.get_trials(deepcopy=False):
            self.study.enqueue_trial(dict(params), user_attrs={_CONFIGURED: True})

    @property
    def configured(self) -> int | None:
        """Number of the trial of `begin_with`; None where there was none."""
        found = [trial.number for trial in self.trials if _CONFIGURED in trial.user_attrs]
        return found[0] if found else None

    def bury(self, process: int | None = None) -> list[int]:
        """Marks running trials failed, whose process is gone, and puts their values in line again.

        Args:
            process: its id; None: nobody else works on the study.

        Returns:
            The trials' numbers.
        """
        with locks.exclusive(self.folder / _NEXT):
            running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            # While the lock is held, a trial that names no process died as it was taken.
            gone = [t for t in running if process is None or t.user_attrs.get(_PROCESS, process) == process]
            for trial in gone:
                self._bury(trial)
        return [trial.number for trial in gone]

    def _bury(self, trial: FrozenTrial) -> None:
        attempt = trial.user_attrs.get(_ATTEMPT, 1)
        whole = set(trial.params) == set(self.tune.space)  # else it died before it had its values
        again = attempt < ATTEMPTS
        kind = _DEAD if again or not whole else _LOST
        self.study.set_user_attr(kind, [*self.study.user_attrs.get(kind, []), trial.number])
        self.study.tell(trial.number, state=TrialState.FAIL)
        if whole and again:
            kept = {key: value for key, value in trial.user_attrs.items() if key == _CONFIGURED}
            self.study.enqueue_trial(trial.params, user_attrs={**kept, _ATTEMPT: attempt + 1})
        log.info("trial %d: its process is gone%s", trial.number, "; its values are tried again" * again)

    def error(self, trial: FrozenTrial) -> str:
        """Why a trial failed; empty where it did not."""
        if trial.number in self.study.user_attrs.get(_LOST, []):
            return f"its process died {ATTEMPTS} times (killed, or out of memory)"
        return str(trial.user_attrs.get(ERROR, ""))


def _pruner(tune: TuneConfig) -> optuna.pruners.BasePruner:
    if tune.pruner == "none":
        return optuna.pruners.NopPruner()
    # Optuna's warm-up is the first step that may be pruned, and epochs count from 1.
    return optuna.pruners.MedianPruner(
        n_startup_trials=tune.unpruned_trials, n_warmup_steps=tune.unpruned_epochs + 1
    )
