"""Trials of a study: the data steps as in a run, their outputs reused, then training; no further step.

A trial trains in `<root>/tuning/<study>/.work-<digest>/`, named by everything that determines it, so that
one whose process died goes on from its checkpoint. It is removed when the trial ends: what stays of a trial
are its numbers, in the study.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.base import Component
from components.runner import run
from components.sources import source_digest
from components.trainer import Trainer, TrainerParameters, training_job
from rmtl_tf import storage
from rmtl_tf.config import RunConfig, TuneConfig, parse_config
from rmtl_tf.errors import UserError, from_system
from rmtl_tf.files import digest_json, read_json
from rmtl_tf.places import twin
from rmtl_tf.tuning.space import SECTIONS, applied

FOLDER = "tuning"  # below the root
CreatePipeline = Callable[[RunConfig], list[Component]]

logger = logging.getLogger(__name__)


def study_folder(config: RunConfig, tune: TuneConfig) -> Path:
    """Always on this machine, also where the root is on an object store: workers share the study's file."""
    return twin(config.pipeline_root) / FOLDER / tune.study


class Trials:
    """Runs trials of one study in this process.

    Args:
        base: plain values of the configuration, with its section `tune`.
        tune: that section, checked.
        folder: of the study.
        create_pipeline: configuration -> the components of a run.
    """

    def __init__(
        self, base: Mapping[str, Any], tune: TuneConfig, folder: Path, create_pipeline: CreatePipeline
    ) -> None:
        self.base, self.tune, self.folder, self.create_pipeline = base, tune, folder, create_pipeline
        self._prepared: dict[str, dict[str, Path]] = {}  # by the parameters of the data steps

    def identity(self) -> dict[str, Any]:
        """What all trials of a study have in common: the configuration, the space, the data and the code."""
        config = parse_config(applied(self.base, {}))
        inputs, _ = self.prepare(config)
        return {
            "configuration": digest_json(config.model_dump(mode="json", include=set(SECTIONS))),
            "space, arm or metric": self.tune.model_dump(mode="json", include={"space", "arm", "metric"}),
            "data": {key: path.parent.name for key, path in sorted(inputs.items())},
            "source code": source_digest(Trainer),
        }

    def prepare(self, config: RunConfig) -> tuple[dict[str, Path], TrainerParameters]:
        """The Trainer's inputs, made by the steps before it or reused, and its parameters.

        The root's status stays that of the last run of the pipeline.
        """
        steps = self.create_pipeline(config)
        (place,) = [number for number, step in enumerate(steps) if isinstance(step, Trainer)]
        parameters = steps[place].parameters
        assert isinstance(parameters, TrainerParameters)
        key = digest_json([step.parameters.model_dump(mode="json") for step in steps[:place]])
        if key not in self._prepared:
            status = f"{FOLDER}/{self.tune.study}/data_status.json"
            results = run(steps[:place], config.pipeline_root, name=f"tune {config.name}", status_file=status)
            outputs = {name: path for result in results for name, path in result.outputs.items()}
            self._prepared[key] = {name: storage.local(outputs[name]) for name in Trainer.INPUTS}
        return self._prepared[key], parameters

    def work(self, worker: int) -> None:
        """Takes trials until none is left. A trial that fails does not stop the others."""
        from rmtl_tf.tuning.hparams import write_experiment
        from rmtl_tf.tuning.study import Study

        study = Study(self.folder, self.tune, worker)
        write_experiment(self.folder, self.tune)
        while (taken := study.take()) is not None:
            self._trial(study, *taken)

    def _trial(self, study: Any, trial: Any, values: Mapping[str, Any]) -> None:
        import keras
        from optuna import TrialPruned
        from optuna.trial import TrialState

        from rmtl_tf.training.observing import observed
        from rmtl_tf.tuning.hparams import write_trial
        from rmtl_tf.tuning.objective import EpochReporter, trial_training
        from rmtl_tf.tuning.study import ERROR

        logger.info("trial %d: %s", trial.number, dict(values))
        work, value = None, None
        state, reporter = TrialState.FAIL, None
        try:
            config = parse_config(applied(self.base, values), f"of trial {trial.number}")
            inputs, parameters = self.prepare(config)
            training = trial_training(config, self.tune.arm)
            parameters = parameters.model_copy(update={"training": training})
            work = self._work_folder(inputs, parameters)
            reporter = EpochReporter(trial, training, self.tune)
            keras.backend.clear_session()  # of the trials before
            with observed(reporter):
                value = self._train(inputs, parameters, work)
            state = TrialState.COMPLETE
        except TrialPruned:
            state = TrialState.PRUNED
        except Exception as error:
            mended = error if isinstance(error, UserError) else from_system(error, self.folder)
            trial.set_user_attr(ERROR, str(mended) if mended else f"{type(error).__name__}: {error}")
            logger.warning("trial %d failed", trial.number, exc_info=mended is None)
        if state != TrialState.FAIL and reporter is not None:
            write_trial(self.folder, trial.number, self.tune, values, reporter.epochs, value)
        study.study.tell(trial, value, state=state)
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)

    def _train(self, inputs: Mapping[str, Path], parameters: TrainerParameters, work: Path) -> float:
        from rmtl_tf.training.job import train
        from rmtl_tf.training.run import RUN_FILE
        from rmtl_tf.tuning.objective import final_value

        train(training_job(inputs, parameters, work))
        return final_value(read_json(work / RUN_FILE), self.tune)

    def _work_folder(self, inputs: Mapping[str, Path], parameters: TrainerParameters) -> Path:
        names = {key: path.parent.name for key, path in sorted(inputs.items())}
        identity = [names, parameters.model_dump(mode="json"), source_digest(Trainer)]
        return self.folder / f".work-{digest_json(identity)[:16]}"
