"""`run` and `worker`: work the pipeline, or take part in the training of a run elsewhere."""

from __future__ import annotations

import argparse
import logging

from commands.base import Commands, CreatePipeline, beam_option, configuration
from components import summary
from components.run_status import CACHED
from components.runner import run as run_components
from components.trainer import Trainer, job_file
from rmtl_tf.errors import UserError
from rmtl_tf.places import twin
from rmtl_tf.training.profiling import profiled_phases

logger = logging.getLogger(__name__)


def add(commands: Commands) -> None:
    of_run = commands.add_configured(
        "run", "run the pipeline", lambda arguments: run(arguments, commands.create_pipeline)
    )
    beam_option(of_run)
    of_run.add_argument(
        "--profile",
        action="store_true",
        help="write a TensorBoard profile of a few steps of each phase; changes no result",
    )
    commands.add_configured("worker", "take part in the training of a run elsewhere", worker)


def run(arguments: argparse.Namespace, create_pipeline: CreatePipeline) -> None:
    config = configuration(arguments)
    if arguments.beam:
        from rmtl_tf.data.beam_options import parse

        parse(arguments.beam)
    with profiled_phases(arguments.profile):
        results = run_components(
            create_pipeline(config, arguments.beam), config.pipeline_root, name=config.name
        )
    if arguments.profile and any(result.name == "Trainer" and result.state == CACHED for result in results):
        logger.warning("--profile: Trainer was cached, nothing was trained or profiled.")
    artifacts = {key: path for result in results for key, path in result.outputs.items()}
    print(summary.run_summary(artifacts, config.name))


def worker(arguments: argparse.Namespace) -> None:
    from rmtl_tf.training.supervise import follow

    config = configuration(arguments)
    if config.training.strategy not in ("multi_worker", "parameter_server"):
        raise UserError(
            "pipeline.py worker: expected training.strategy multi_worker or parameter_server, received "
            f"{config.training.strategy}, which has no workers."
        )
    follow(config.training.strategy, job_file(twin(config.pipeline_root).resolve() / Trainer.__name__))
