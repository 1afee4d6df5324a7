"""From raw session logs to a model TF Serving can load: the pipeline, and its command line."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from components import garbage, lineage, summary
from components.base import Component
from components.evaluator import Evaluator, EvaluatorParameters
from components.example_gen import example_gen
from components.example_validator import ExampleValidator, ExampleValidatorParameters
from components.infra_validator import InfraValidator, InfraValidatorParameters
from components.log_simulator import LogSimulator
from components.pusher import Pusher, PusherParameters, push_blessed
from components.reporter import Reporter, ReporterParameters
from components.run_status import CACHED, read_status
from components.runner import run
from components.span_example_gen import span_steps
from components.tfds_import import TfdsImport, TfdsImportParameters
from components.trainer import Trainer, TrainerParameters, job_file
from components.transform import Transform, TransformParameters
from rmtl_tf import console, serving_versions
from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.data.growing import PLACE
from rmtl_tf.errors import UserError, from_system
from rmtl_tf.tensorflow_noise import quiet_import
from rmtl_tf.training.profiling import profiled_phases

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

INFER_SCHEMA = """\
Reads a sample of a CSV (.gz too) or Parquet table and drafts the schema that a run needs: which columns are
user, item, session, time (seconds to nanoseconds) and labels, what only happens after what (parents), which
are numbers, categories or several values, and their bounds. It guesses from names and values, so read the
numbered comments at the top of the draft: each is a decision that only someone who knows the data can make.
The most important one: a column that is known only after the item was shown must not stay an input.

  draft it          python pipeline.py infer-schema day1.csv -o data_schemas/shop.pbtxt
  decide, edit      data_schemas/shop.pbtxt; docs/data.md says what the tags mean
  configure         configs/shop.yaml: data: {dataset: table, path: FOLDER, schema: data_schemas/shop.pbtxt}
  run               python pipeline.py run --config configs/shop.yaml
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


def run_command(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.config, arguments.set)
    if arguments.beam:
        from rmtl_tf.data.beam_options import parse

        parse(arguments.beam)
    with profiled_phases(arguments.profile):
        results = run(create_pipeline(config, arguments.beam), config.pipeline_root, name=config.name)
    if arguments.profile and any(result.name == "Trainer" and result.state == CACHED for result in results):
        logger.warning("--profile: Trainer was cached, nothing was trained or profiled.")
    artifacts = {key: path for result in results for key, path in result.outputs.items()}
    print(summary.run_summary(artifacts, config.name))


def worker_command(arguments: argparse.Namespace) -> None:
    from rmtl_tf.training.supervise import follow

    config = load_config(arguments.config, arguments.set)
    if config.training.strategy not in ("multi_worker", "parameter_server"):
        raise UserError(
            "pipeline.py worker: expected training.strategy multi_worker or parameter_server, received "
            f"{config.training.strategy}, which has no workers."
        )
    follow(config.training.strategy, job_file(config.pipeline_root.resolve() / Trainer.__name__))


def status_command(arguments: argparse.Namespace) -> None:
    if arguments.root is not None:
        print(summary.status_text(arguments.root, None))
        return
    config = load_config(arguments.config, arguments.set)
    print(summary.status_text(config.pipeline_root, config.serving_directory))


def push_command(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.config, arguments.set)
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


def promote_command(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.config, arguments.set)
    before, now = serving_versions.promote(config.serving_directory)
    print(f"Version {now} is stable, in place of {before}, in {summary.shown(config.serving_directory)}.")


def rollback_command(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.config, arguments.set)
    back, now = serving_versions.rollback(config.serving_directory)
    directory = summary.shown(config.serving_directory)
    print(f"Version {back} is taken back; TF Serving serves version {now} of {directory}.")


def lineage_command(arguments: argparse.Namespace) -> None:
    place = arguments.place
    if place.name == str(place) and str(place).isdecimal():
        if arguments.config is None:
            raise UserError(f"lineage: version {place} of which run? Add --config FILE, or give its folder.")
        place = load_config(arguments.config, arguments.set).serving_directory / place
    print(lineage.lineage_text(place, arguments.check))


def diff_command(arguments: argparse.Namespace) -> None:
    print(lineage.difference_text(arguments.first, arguments.second))


def gc_command(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.config, arguments.set)
    found = garbage.collect(
        config.pipeline_root, config.serving_directory, arguments.keep_days, arguments.dry_run
    )
    for folder, size in found.removed.items():
        print(f"{size / 1e6:10.1f} MB  {summary.shown(folder)}")
    total = sum(found.removed.values()) / 1e6
    verb = "would be removed" if arguments.dry_run else "removed"
    print(f"{len(found.removed)} outputs of steps {verb} ({total:.1f} MB); {len(found.kept)} are needed.")


def validate_command(arguments: argparse.Namespace) -> None:
    from rmtl_tf.data.feedback import feedback_columns
    from rmtl_tf.data.validation.artifact import stop_on_errors, summary
    from rmtl_tf.data.validation.requests import validate_requests
    from rmtl_tf.schema import read_schema

    data = load_config(arguments.config, arguments.set).data
    schema = read_schema(data.data_schema)
    found = validate_requests(
        arguments.examples,
        schema,
        feedback_columns(data.feedback, schema),
        data.validation.severity,
        arguments.environment,
        arguments.statistics,
    )
    for comparison in found.comparisons:
        if comparison.passed:
            print(f"{comparison.feature}: {comparison.sentence}")
    for anomaly in found.anomalies:
        print(f"{anomaly.severity}: {anomaly.sentence}")
    print(summary(found))
    stop_on_errors(found, [])


def infer_schema_command(arguments: argparse.Namespace) -> None:
    from rmtl_tf.data.infer_schema import draft_schema

    text = draft_schema(arguments.file, arguments.rows)
    if arguments.output is None:
        print(text, end="")
        return
    if arguments.output.exists():
        raise UserError(f"{arguments.output} is there already. Give another file, or remove it first.")
    arguments.output.write_text(text, encoding="utf-8")
    decisions = len(re.findall(r"^#  \d+\. ", text, re.MULTILINE))
    print(f"Drafted {summary.shown(arguments.output)}: {decisions} decisions stand at its top.")


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="pipeline.py", description=__doc__, epilog=EXAMPLES, formatter_class=form
    )
    commands = top.add_subparsers(
        dest="command",
        required=True,
        metavar="{run,worker,status,push,promote,rollback,lineage,diff,gc,validate,infer-schema}",
    )

    def add(name: str, text: str, command) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, epilog=EXAMPLES, formatter_class=form)
        sub.set_defaults(command=command)
        sub.add_argument(
            "--set",
            metavar="a.b=value",
            nargs="+",
            action="extend",
            default=[],
            help="replace fields of the configuration",
        )
        sub.add_argument("--debug", action="store_true", help="more log lines; the traceback of an error")
        return sub

    of_run = add("run", "run the pipeline", run_command)
    of_run.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="configuration, see configs/"
    )
    of_run.add_argument(
        "--beam",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="options of Beam for ExampleGen and Transform, its runner first of all (docs/beam.md)",
    )
    of_run.add_argument(
        "--profile",
        action="store_true",
        help="write a TensorBoard profile of a few steps of each phase; changes no result",
    )
    of_worker = add("worker", "take part in the training of a run elsewhere", worker_command)
    of_worker.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="configuration of the run"
    )
    of_status = add("status", "steps, cache hits, durations, artifacts and pushed versions", status_command)
    where = of_status.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE", help="configuration of the run")
    where.add_argument("--root", type=Path, metavar="FOLDER", help="or its pipeline root")
    of_push = add("push", "push the last run's model, if it was blessed", push_command)
    of_push.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="configuration of the run"
    )
    of_push.add_argument(
        "--label",
        choices=["stable", "canary"],
        help="what the version becomes (default: push.label of the configuration)",
    )
    of_promote = add("promote", "make the canary stable", promote_command)
    of_promote.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="configuration of the run"
    )
    of_rollback = add(
        "rollback",
        "take the newest pushed model, canary or stable, out of TF Serving's sight",
        rollback_command,
    )
    of_rollback.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="configuration of the run"
    )
    of_lineage = add(
        "lineage", "what made a pushed version or an artifact, from the raw files on", lineage_command
    )
    of_lineage.add_argument(
        "place",
        type=Path,
        metavar="VERSION",
        help="number of a pushed version (with --config); or a folder: of a version, a step's outputs, a run",
    )
    of_lineage.add_argument("--config", type=Path, metavar="FILE", help="configuration of the run")
    of_lineage.add_argument(
        "--check", action="store_true", help="read every artifact again: is it what was recorded?"
    )
    of_diff = add("diff", "which input, setting or source is different, and how metrics moved", diff_command)
    for number in ("first", "second"):
        of_diff.add_argument(
            number,
            type=Path,
            metavar=number.upper(),
            help="a run's root, a step's outputs, or a pushed version",
        )
    of_gc = add("gc", "remove artifacts that neither the last run nor a pushed model needs", gc_command)
    of_gc.add_argument("--config", type=Path, required=True, metavar="FILE", help="configuration of the run")
    of_gc.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    of_gc.add_argument(
        "--keep-days", type=float, default=0.0, metavar="N", help="also keep what was made in the last N days"
    )
    of_validate = add("validate", "hold serving requests against the schema", validate_command)
    of_validate.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="configuration of the run"
    )
    of_validate.add_argument(
        "--examples",
        type=Path,
        required=True,
        metavar="FILE",
        help="TFRecords of one-record tf.train.Examples",
    )
    of_validate.add_argument(
        "--environment", default="SERVING", metavar="NAME", help="of the schema; default: SERVING"
    )
    of_validate.add_argument(
        "--statistics", type=Path, metavar="FOLDER", help="of ExampleGen: report the skew to its train split"
    )
    of_schema = commands.add_parser(
        "infer-schema",
        help="draft a data schema from a sample of a table",
        description=INFER_SCHEMA,
        formatter_class=form,
    )
    of_schema.set_defaults(command=infer_schema_command)
    of_schema.add_argument("file", type=Path, metavar="FILE", help="CSV (with a header) or Parquet file")
    of_schema.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write; default: print")
    of_schema.add_argument(
        "--rows", type=_positive, default=200_000, help="rows to look at (default: 200000)"
    )
    of_schema.add_argument("--debug", action="store_true", help="the traceback of an error")
    return top


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of rows above 0, received {text}")
    return int(text)


def set_up_logging(debug: bool) -> None:
    """Our log lines to stderr in one clean form; of others only warnings, of TensorFlow only errors."""
    ours = ("rmtl_tf", "components", "pipeline")
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
