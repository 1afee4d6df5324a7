"""A study in TensorBoard: a run for each trial, its values in the HParams tab, its epochs as scalars.

`tensorboard --logdir <study>/tensorboard`: the Scalars tab compares the curves of trials, HParams their
values.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rmtl_tf.config import Choices, IntRange, TuneConfig
from rmtl_tf.tuning.space import text

FOLDER = "tensorboard"
_PHASES = {
    "pretrain": "of the pretraining, before the arm's own training",
    "arm": "of the arm's own training, from where pretraining ended",
}


def write_experiment(folder: Path, tune: TuneConfig) -> None:
    """What the columns of the HParams tab are: the fields with their ranges, and the metric."""
    import tensorflow as tf
    from tensorboard.plugins.hparams import api as hparams

    place = folder / FOLDER / "space"
    if place.exists():
        return
    fields = []
    for path, given in tune.space.items():
        domain: Any
        if isinstance(given, Choices):
            domain = hparams.Discrete([_category(value) for value in given.choices])
        elif isinstance(given, IntRange):
            domain = hparams.IntInterval(given.low, given.high)
        else:
            domain = hparams.RealInterval(given.low, given.high)
        fields.append(hparams.HParam(path, domain))
    title = f"{tune.arm}: validation {tune.metric}"
    with tf.summary.create_file_writer(str(place)).as_default(step=0):
        hparams.hparams_config(
            hparams=fields, metrics=[hparams.Metric(final_tag(tune.metric), display_name=title)]
        )
        tf.summary.text("guide", _guide(tune))


def write_trial(
    folder: Path,
    number: int,
    tune: TuneConfig,
    values: Mapping[str, Any],
    epochs: Sequence[tuple[str, int, float]],
    value: float | None,
) -> None:
    """One trial.

    Args:
        epochs: (phase, epoch from 1, metric).
        value: what it is judged by; None where it was pruned: it has no place among the finished ones.
    """
    import tensorflow as tf
    from tensorboard.plugins.hparams import api as hparams

    place = trial_folder(folder, number)
    shutil.rmtree(place, ignore_errors=True)
    named = {
        path: _category(entry) if isinstance(tune.space[path], Choices) else entry
        for path, entry in values.items()
    }
    with tf.summary.create_file_writer(str(place)).as_default(step=0):
        hparams.hparams(named, trial_id=f"trial-{number:04d}")
        for phase, epoch, metric in epochs:
            group = "pretrain" if phase == "pretrain" else "arm"
            meaning = f"validation {tune.metric} {_PHASES[group]}"
            tf.summary.scalar(f"{group}/validation_{tune.metric}", metric, step=epoch, description=meaning)
        if value is not None:
            tf.summary.scalar(
                final_tag(tune.metric),
                value,
                description="what the trial is judged by; pruned trials have none",
            )


def remove_trial(folder: Path, number: int) -> None:
    shutil.rmtree(trial_folder(folder, number), ignore_errors=True)


def trial_folder(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"trial-{number:04d}"


def final_tag(metric: str) -> str:
    return f"final/validation_{metric}"


def _category(value: Any) -> str:
    return value if isinstance(value, str) else text(value)


def _guide(tune: TuneConfig) -> str:
    rows = "\n".join(f"| `{path}` | {given.kind} | {_range(given)} |" for path, given in tune.space.items())
    aim = "highest" if tune.maximise else "lowest"
    return (
        f"Each run is a trial: one training with other values of the fields below. Sought is the {aim} "
        f"validation `{tune.metric}` of the arm `{tune.arm}`: `{final_tag(tune.metric)}`, one a trial; "
        "pruned trials have none.\n\n| field | kind | tried |\n|---|---|---|\n" + rows
    )


def _range(given: Any) -> str:
    if isinstance(given, Choices):
        return ", ".join(_category(value) for value in given.choices)
    return f"{given.low:g} to {given.high:g}{', by orders of magnitude' if given.log else ''}"
