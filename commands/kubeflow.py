"""`compile` and `submit`: the pipeline for Kubeflow, and to it."""

from __future__ import annotations

import argparse
from pathlib import Path

from commands.base import Commands, CreatePipeline, beam_option, configuration, set_option
from components.summary import shown
from rmtl_tf.errors import UserError


def add(commands: Commands) -> None:
    of_compile = commands.add_configured(
        "compile",
        "write the pipeline for Kubeflow",
        lambda arguments: compile_command(arguments, commands.create_pipeline),
    )
    of_compile.add_argument(
        "--image", required=True, metavar="IMAGE", help="container image of this repository (Dockerfile)"
    )
    of_compile.add_argument(
        "--pipeline-root",
        required=True,
        metavar="URI",
        help="where artifacts are kept: gs://, s3://, minio://",
    )
    beam_option(of_compile)
    of_compile.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="IR YAML that is written"
    )
    of_submit = commands.add("submit", "start a compiled pipeline on Kubeflow, once or by a schedule", submit)
    of_submit.add_argument("pipeline", type=Path, metavar="FILE", help="what compile wrote")
    of_submit.add_argument("--host", required=True, metavar="URL", help="of Kubeflow Pipelines")
    of_submit.add_argument(
        "--cron", metavar="FIELDS", help='a recurring run, for example "0 3 * * *"; else one run, now'
    )
    of_submit.add_argument("--experiment", default="rmtl-tf", metavar="NAME", help="default: rmtl-tf")
    of_submit.add_argument("--namespace", metavar="NAME", help="of a cluster with several users")
    of_submit.add_argument(
        "--token-file", type=Path, metavar="FILE", help="with the token the cluster asks for"
    )
    set_option(of_submit)


def compile_command(arguments: argparse.Namespace, create_pipeline: CreatePipeline) -> None:
    from components.kubeflow.compiler import compile_pipeline

    text = compile_pipeline(
        configuration(arguments), create_pipeline, arguments.image, arguments.pipeline_root, arguments.beam
    )
    arguments.output.write_text(text, encoding="utf-8")
    print(
        f"Compiled {shown(arguments.output)}. To start it: "
        f"python pipeline.py submit {arguments.output} --host URL"
    )


def submit(arguments: argparse.Namespace) -> None:
    from components.kubeflow.submit import Server, run_by_schedule, run_once

    server = Server(arguments.host, arguments.namespace, _token(arguments.token_file))
    if arguments.cron is None:
        page = run_once(arguments.pipeline, server, arguments.experiment, arguments.set)
    else:
        page = run_by_schedule(
            arguments.pipeline, server, arguments.experiment, arguments.cron, arguments.set
        )
    print(page)


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"--token-file {file}: cannot be read ({error.strerror}).") from None
