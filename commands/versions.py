"""`push`, `promote`, `rollback`: which model TF Serving serves."""

from __future__ import annotations

import argparse

from commands.base import Commands, configuration
from components import summary
from components.pusher import Pusher, PusherParameters, push_blessed
from components.run_status import read_status
from rmtl_tf import serving_versions
from rmtl_tf.errors import UserError


def add(commands: Commands) -> None:
    of_push = commands.add_configured("push", "push the last run's model, if it was blessed", push)
    of_push.add_argument(
        "--label",
        choices=["stable", "canary"],
        help="what the version becomes (default: push.label of the configuration)",
    )
    commands.add_configured("promote", "make the canary stable", promote)
    commands.add_configured(
        "rollback", "take the newest pushed model, canary or stable, out of TF Serving's sight", rollback
    )


def push(arguments: argparse.Namespace) -> None:
    config = configuration(arguments)
    status = read_status(config.pipeline_root)
    artifacts = {
        key: config.pipeline_root / path for step in status["steps"] for key, path in step["outputs"].items()
    }
    if missing := [key for key in Pusher.INPUTS if key not in artifacts]:
        raise UserError(
            f"push: expected a model and its two judgements from the last run in {config.pipeline_root}, "
            f"found no {', '.join(missing)}. Run the pipeline first."
        )
    label = arguments.label or config.push.label
    parameters = PusherParameters(directory=str(config.serving_directory), keep=config.push.keep, label=label)
    record = push_blessed({key: artifacts[key] for key in Pusher.INPUTS}, parameters)
    if not record["pushed"]:
        raise UserError(f"push: {record['reason']}.")
    print(f"{record['reason'].capitalize()}; {label} in {summary.shown(config.serving_directory)}.")


def promote(arguments: argparse.Namespace) -> None:
    config = configuration(arguments)
    before, now = serving_versions.promote(config.serving_directory)
    print(f"Version {now} is stable, in place of {before}, in {summary.shown(config.serving_directory)}.")


def rollback(arguments: argparse.Namespace) -> None:
    config = configuration(arguments)
    back, now = serving_versions.rollback(config.serving_directory)
    directory = summary.shown(config.serving_directory)
    print(f"Version {back} is taken back; TF Serving serves version {now} of {directory}.")
