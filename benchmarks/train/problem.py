"""A setting as this package's own classes: sizes, a table of sessions, and the phases of a run on it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.speed import Size
from benchmarks.train.setting import LEARNING_RATE, Setting
from rmtl_tf.config import CriticConfig, ModelConfig, PhaseConfig, TrainingConfig
from rmtl_tf.inputs import RecordTable
from rmtl_tf.schema import Task
from rmtl_tf.training.loop import Progress
from rmtl_tf.training.phases import Trainer
from rmtl_tf.training.predict import EncodedPredictor, Predictor
from rmtl_tf.training.problem import Problem

_SESSION = 8  # records


def size_of(setting: Setting) -> Size:
    """`setting` as the benchmarks of this package describe it."""
    values = setting.to_json()
    model = {key: value for key, value in values.items() if key in ModelConfig.model_fields}
    return Size(
        fields=setting.fields,
        rows=setting.rows,
        batch=setting.batch,
        model=ModelConfig(**model, embedding_dim=setting.width),
        critic=critic_of(setting),
        tasks=tasks_of(setting),
    )


def critic_of(setting: Setting) -> CriticConfig:
    return CriticConfig(bottom=setting.bottom, tower=setting.tower)


def tasks_of(setting: Setting) -> tuple[Task, ...]:
    names = [f"task_{k}" for k in range(setting.tasks)]
    return tuple(
        Task(name, parent=None if parent < 0 else names[parent])
        for name, parent in zip(names, setting.parents, strict=True)
    )


def table_of(setting: Setting, ids: np.ndarray, labels: np.ndarray) -> RecordTable:
    """Ids [batches, N, F] and labels [batches, N, K] as sessions of eight records, which fill batches."""
    ids, labels = ids.reshape(-1, setting.fields), labels.reshape(-1, setting.tasks)
    rows = np.arange(len(ids))
    names = [name for name, _ in size_of(setting).spec.categorical]
    return RecordTable(
        features={name: ids[:, i].astype(np.int32) for i, name in enumerate(names)},
        labels=labels,
        timestamp=rows.astype(np.int64),
        session=(rows // _SESSION).astype(np.int32),
        length=np.full(len(rows), _SESSION, np.float32),
        lookahead=np.zeros(len(rows), bool),
        done=rows % _SESSION == _SESSION - 1,
        windows=np.arange(0, len(rows) + 1, _SESSION),
    )


def problem_of(setting: Setting, batches: int) -> Problem:
    """`batches` full batches to train on, and one to validate on."""
    train = setting.having(batches=batches)
    held_out = setting.having(batches=1, seed=setting.seed + 1)
    tables = [table_of(each, *each.records()) for each in (train, held_out)]
    return Problem(size_of(setting).spec, tasks_of(setting), *tables)


def train_phases(setting: Setting, batches: int, epochs: int) -> dict[str, float]:
    """Trains all phases as a run does, each for `epochs` epochs, and says what a batch of each took.

    Returns:
        Seconds a batch of phase A (`pretrain`), B (`critic`), and C with constant weights (`control`) and
        with the critic's (`paper`), as `Phase` counts them: the loop with its input and callbacks, without
        tracing and evaluation; of the frozen actor's predictions (`frozen`), and of what the frozen critic
        makes of the states once for C (`encoded`).
    """
    phase = PhaseConfig(learning_rate=LEARNING_RATE, max_epochs=epochs, patience=epochs)
    training = TrainingConfig(
        batch_size=setting.batch,
        pretrain=phase,
        finetune=phase,
        critic=critic_of(setting).model_copy(update={"max_epochs": epochs, "patience": epochs}),
        arms=("control", "paper"),  # type: ignore[arg-type]
        # The first execution of a phase is not timed: there must be another.
        steps_per_execution=max(1, min(8, batches // 2)),
    )
    problem = problem_of(setting, batches)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = size_of(setting).model.model_copy(update={"backbone": setting.backbone})
        trainer = Trainer(problem, model, training, setting.seed, folder / "checkpoints", folder / "logs")
        frozen, pretrained = trainer.pretrain()
        control, paper = training.arms
        critic, learnt = trainer.critic(frozen, training.critic_of(paper), [paper.name])
        arms = {
            arm.name: trainer.finetune(frozen, arm, arm.weighting, judge, 0.0).progress
            for arm, judge in ((control, None), (paper, critic))
        }
        once = {
            "frozen": Predictor(trainer.backbone("A"), problem.train),
            "encoded": EncodedPredictor(critic, problem.train),
        }
        seconds = {name: _a_pass(predictor) / batches for name, predictor in once.items()}
    done = {"pretrain": pretrained, "critic": learnt, **arms}
    return {name: _a_batch(progress, setting.batch) for name, progress in done.items()} | seconds


def _a_pass(predictor: Callable[[], np.ndarray]) -> float:
    """Seconds of all predictions once."""
    predictor()  # traces
    began = time.perf_counter()
    predictor()
    return time.perf_counter() - began


def _a_batch(progress: Progress, batch: int) -> float:
    return progress.seconds / progress.records * batch
