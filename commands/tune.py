"""`tune`: better values for fields of a configuration, by trials."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commands.base import Commands, CreatePipeline, a_place, positive
from components import summary
from components.tuning import Trials, study_folder
from rmtl_tf import locks
from rmtl_tf.config import RunConfig, parse_config, read_values, set_values
from rmtl_tf.errors import UserError
from rmtl_tf.files import write_text

BEST_FILE = "best.yaml"
REPORT_FILE = "tuning.html"


def add(commands: Commands) -> None:
    sub = commands.add_configured(
        "tune",
        "try other values of any fields and find the best",
        lambda arguments: tune(arguments, commands.create_pipeline),
    )
    sub.add_argument(
        "--space",
        type=a_place,
        metavar="FILE",
        help="YAML of what to try; default: the section tune of the configuration (docs/tuning.md)",
    )
    sub.add_argument(
        "--workers", type=positive("number"), default=1, metavar="N", help="trials at a time; default: 1"
    )
    sub.add_argument("--worker", type=int, help=argparse.SUPPRESS)  # this process is one of them


def tune(arguments: argparse.Namespace, create_pipeline: CreatePipeline) -> None:
    from rmtl_tf.tuning.space import check_space, present

    values = _values(arguments)
    config = parse_config(values, str(arguments.config))
    settings = check_space(values, config)
    folder = study_folder(config, settings)
    trials = Trials(values, settings, folder, lambda one: create_pipeline(one, ()))
    if arguments.worker is not None:
        from rmtl_tf.training.job import end_with

        end_with(os.getppid())
        trials.work(arguments.worker)
        return
    from rmtl_tf.tuning.study import LOCK, Study
    from rmtl_tf.tuning.workers import lead

    with locks.exclusive(folder / LOCK, waiting=lambda process: _refuse(folder, process)):
        identity = trials.identity()
        study = Study(folder, settings)
        study.check(identity)
        now = present(config, settings.space)
        if now is not None:
            study.begin_with(now)
        lead(study, lambda worker: [*_again(arguments), "--worker", str(worker)], arguments.workers)
        for leftover in folder.glob(".work-*"):
            shutil.rmtree(leftover)
        print(_conclude(study, values, config, arguments))


def _values(arguments: argparse.Namespace) -> dict[str, Any]:
    """The configuration as plain values, with what to try as its section `tune`."""
    values = read_values(arguments.config)
    if arguments.space is not None:
        own = read_values(arguments.space)
        values["tune"] = own.get("tune", own)
    set_values(values, arguments.set)
    return values


def _conclude(study: Any, values: Mapping[str, Any], config: RunConfig, arguments: argparse.Namespace) -> str:
    """Writes the best configuration and the report; what to read and do next."""
    import yaml

    from rmtl_tf.report.tuning import write_tuning_report
    from rmtl_tf.tuning.hparams import FOLDER
    from rmtl_tf.tuning.results import results
    from rmtl_tf.tuning.results import summary as summary_of
    from rmtl_tf.tuning.space import applied, shown

    found = results(study)
    best = found.best
    if best is None:
        raise UserError(f"tune: no trial finished. Look at {study.folder}/worker-0.log.")
    file, page = study.folder / BEST_FILE, study.folder / REPORT_FILE
    write_text(file, yaml.safe_dump(applied(values, best.values), sort_keys=False, allow_unicode=True))
    write_tuning_report(found, page, config.name)
    own = [given for given in arguments.set if not given.startswith("tune.")]
    settings = " ".join([*(shlex.quote(given) for given in own), shown(best.values)])
    run = f"python pipeline.py run --config {shlex.quote(str(arguments.config))} --set {settings}"
    commands = [
        ("Train, judge and push it:", run),
        ("or, the same as a file:", f"python pipeline.py run --config {summary.shown(file)}"),
        ("Report:", f"{summary.opener()} {summary.shown(page)}"),
        ("TensorBoard:", f"{summary.tool('tensorboard')} --logdir {summary.shown(study.folder / FOLDER)}"),
    ]
    return summary_of(found, commands)


def _again(arguments: argparse.Namespace) -> list[str]:
    """This command, for a worker."""
    script = Path(__file__).resolve().parents[1] / "pipeline.py"
    command = [sys.executable, str(script), "tune", "--config", str(arguments.config)]
    if arguments.space is not None:
        command += ["--space", str(arguments.space)]
    return [*command, *(["--set", *arguments.set] if arguments.set else [])]


def _refuse(folder: Path, process: int | None) -> None:
    raise UserError(
        f"tune: process {process or 'unknown'} works on the study in {folder}. Wait for it, or stop it; for "
        "more trials at a time give it more --workers."
    )
