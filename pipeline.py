"""From raw session logs to a model TF Serving can load: the pipeline, and its command line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from commands import artifacts, data, run, versions
from commands.base import FORM, Commands
from components.base import Component
from components.evaluator import Evaluator, EvaluatorParameters
from components.example_gen import example_gen
from components.example_validator import ExampleValidator, ExampleValidatorParameters
from components.infra_validator import InfraValidator, InfraValidatorParameters
from components.log_simulator import LogSimulator
from components.pusher import Pusher, PusherParameters
from components.reporter import Reporter, ReporterParameters
from components.span_example_gen import span_steps
from components.tfds_import import TfdsImport, TfdsImportParameters
from components.trainer import Trainer, TrainerParameters
from components.transform import Transform, TransformParameters
from rmtl_tf import console
from rmtl_tf.config import RunConfig
from rmtl_tf.data.growing import PLACE
from rmtl_tf.errors import UserError, from_system
from rmtl_tf.tensorflow_noise import quiet_import

EXAMPLES = """\
examples:
  simulated logs, from nothing to a pushed model:
    python pipeline.py run --config configs/simulator.yaml
  real logs; any field of the configuration can be set by its path:
    python pipeline.py run --config configs/deskdrop.yaml --set data.path=FOLDER
    python pipeline.py run --config configs/simulator.yaml --set training.batch_size=1024 model.backbone=mmoe
  ExampleGen and Transform on another Beam runner; the same bytes come out:
    python pipeline.py run --config configs/simulator.yaml --beam runner=FlinkRunner parallelism=2
  what ran, what was cached, where the artifacts are:
    python pipeline.py status --config configs/simulator.yaml
  the last run's model beside the stable one; then to everybody; or back:
    python pipeline.py push --label canary --config configs/simulator.yaml
    python pipeline.py promote --config configs/simulator.yaml
    python pipeline.py rollback --config configs/simulator.yaml
  what made pushed version 3, down to the raw files' sha256; what is different between two runs:
    python pipeline.py lineage 3 --config configs/simulator.yaml
    python pipeline.py diff runs/simulator/Reporter/KEY runs/simulator
  remove artifacts that neither the last run nor a pushed model needs:
    python pipeline.py gc --config configs/simulator.yaml --dry-run
  are these serving requests what the schema says?
    python pipeline.py validate --config configs/simulator.yaml --examples REQUESTS.tfrecord
  a first draft of a schema for your own table:
    python pipeline.py infer-schema FILE -o data_schemas/NAME.pbtxt

A run skips every step whose inputs, parameters and source did not change, and goes on where a
stopped run was. Results are below runs/<name> (root: in the configuration).
"""

logger = logging.getLogger("pipeline")


def create_pipeline(config: RunConfig, beam: Sequence[str] = ()) -> list[Component]:
    """The components of a run, in order; logs come from `data.source`, `data.path` or the simulator.

    Args:
        beam: `KEY=VALUE` options of the Beam runner that ExampleGen and Transform work on.
    """
    data, schema = config.data, config.data.data_schema
    serving = str(config.serving_directory)
    components: list[Component] = []
    logs = None
    if data.source is not None:
        components.append(TfdsImport(TfdsImportParameters.of(data)))
        logs = components[0].outputs["logs"]
    elif data.path is None:
        simulator = LogSimulator(data.simulate)
        components.append(simulator)
        logs = simulator.outputs["logs"]
    examples: Component
    if data.path is not None and PLACE in data.path:
        spans, examples = span_steps(data, beam)
        components += spans
    else:
        examples = example_gen(data, logs, beam)
    artifacts = dict(examples.outputs)

    def take(cls: type[Component], parameters) -> Component:
        component = cls(parameters, {key: artifacts[key] for key in cls.INPUTS})
        artifacts.update(component.outputs)
        return component

    return [
        *components,
        examples,
        take(
            ExampleValidator,
            ExampleValidatorParameters(schema=schema, feedback=data.feedback, validation=data.validation),
        ),
        take(
            Transform,
            TransformParameters(
                transform=config.transform, feedback=data.feedback, schema=schema, beam=tuple(beam)
            ),
        ),
        take(
            Trainer,
            TrainerParameters(
                schema=schema,
                feedback=data.feedback,
                model=config.model,
                training=config.training,
                serving=config.serving,
                serving_directory=serving if config.training.warm_start == "blessed" else None,
                seed=config.seed,
            ),
        ),
        take(
            Evaluator,
            EvaluatorParameters(
                evaluation=config.evaluation,
                schema=schema,
                feedback=data.feedback,
                serving_directory=serving,
                seed=config.seed,
            ),
        ),
        take(InfraValidator, InfraValidatorParameters()),
        take(Pusher, PusherParameters(directory=serving, keep=config.push.keep, label=config.push.label)),
        take(
            Reporter,
            ReporterParameters(name=config.name, config=config.model_dump(mode="json", by_alias=True)),
        ),
    ]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="pipeline.py", description=__doc__, epilog=EXAMPLES, formatter_class=FORM
    )
    parsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands = Commands(parsers, EXAMPLES, create_pipeline)
    for group in (run, artifacts, versions, data):
        group.add(commands)
    return top


def set_up_logging(debug: bool) -> None:
    """Our log lines to stderr in one clean form; of others only warnings, of TensorFlow only errors."""
    ours = ("rmtl_tf", "components", "commands", "pipeline")
    handler = logging.StreamHandler()
    handler.setFormatter(console.LogFormatter(ours))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ours:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
    if debug:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    quiet_import("tensorflow", lambda tensorflow: tensorflow.config.list_physical_devices())
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Beam logs the traceback of every error it passes on.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"(keras|tensorflow|apache_beam)\b")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 unexpected error, 2 an error the user can mend, 130 interrupted."""
    given = parser().parse_args(arguments)
    set_up_logging(given.debug)
    try:
        given.command(given)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        mistake = error if isinstance(error, UserError) else from_system(error, Path.cwd())
        if mistake:
            print(f"error: {mistake}", file=sys.stderr)
            if given.debug:
                logger.exception("traceback")
            return 2
        print(f"unexpected error: {type(error).__name__}: {error}", file=sys.stderr)
        if given.debug:
            logger.exception("traceback")
        else:
            print("Run again with --debug for the traceback.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
