"""Which Beam runner does the work: this process with its threads, or any other that options name.

The options of Beam itself (`PipelineOptions`) are passed on as they are. They say where the work is done, not
what comes out: the same bytes on every runner.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rmtl_tf.errors import UserError, nearest

if TYPE_CHECKING:
    from apache_beam import Pipeline
    from apache_beam.options.pipeline_options import PipelineOptions

# Their Java job servers know options that the Python SDK does not.
_PORTABLE = ("PortableRunner", "FlinkRunner", "SparkRunner")
_LOCAL = ("DirectRunner", "BundleBasedDirectRunner", "FnApiRunner")
_USER_ERROR = re.compile(
    r"\bUserError: (.*?)(?= \[while running '|\n\nDuring handling of|\n\tat |\Z)", re.DOTALL
)
# Below this, starting workers costs more than they save.
_SMALL = 4 << 20


@contextlib.contextmanager
def pipeline(beam_options: Sequence[str]) -> Iterator[Pipeline]:
    """A Beam pipeline on the runner that `KEY=VALUE` options name; it runs when the context ends.

    Without a `runner` it runs in this process. Beam's own default may fetch a program from the network, so
    the runner is always named.

    Raises:
        UserError: see `parse`; and one that a worker raised, wherever it was.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import StandardOptions

    options = parse(beam_options)
    if (options.view_as(StandardOptions).runner or _LOCAL[0]) not in _LOCAL:
        made = beam.Pipeline(options=options)
    else:
        made = _local(options)
    try:
        with made:
            yield made
    except Exception as error:
        # Beam adds its step to the message; from another worker only the text of an error comes back.
        if found := _USER_ERROR.search(f"{type(error).__name__}: {error}"):
            raise UserError(found[1], keep=getattr(error, "keep", ())) from error
        raise


def _local(options: PipelineOptions) -> Pipeline:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import DirectOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode == "in_memory":
        direct.direct_num_workers = 1
    return beam.Pipeline(runner=FnApiRunner(), options=options)


def threads(beam_options: Sequence[str], size: int) -> int:
    """How many elements a worker of a heavy step (`threads.Threaded`) works on at a time.

    In this process `direct_num_workers`, by default one for every core; elsewhere 1, as the runner has its
    own workers.

    Args:
        size: about how many bytes go through the pipeline; few are not worth it.
    """
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    options = parse(beam_options)
    direct = options.view_as(DirectOptions)
    elsewhere = (options.view_as(StandardOptions).runner or _LOCAL[0]) not in _LOCAL
    if elsewhere or direct.direct_running_mode != "in_memory":
        return 1
    if any(option.startswith("direct_num_workers=") for option in beam_options):
        return direct.direct_num_workers or len(os.sched_getaffinity(0))
    return len(os.sched_getaffinity(0)) if size > _SMALL else 1


def work_folder(beam_options: Sequence[str], local: str) -> str:
    """Where steps leave tables for each other: below Beam's `temp_location` if it is given, else `local`."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    location = parse(beam_options).view_as(GoogleCloudOptions).temp_location
    if not location:
        return local
    return FileSystems.join(location, f"rmtl-tf-{os.urandom(8).hex()}")


def parse(beam_options: Sequence[str]) -> PipelineOptions:
    """`KEY=VALUE` options as Beam takes them.

    Raises:
        UserError: not of that form; an option or a value Beam does not know, with the nearest it knows. Of a
            runner with a job server, an option like none of Beam's is left to the job server.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    values = dict(_split(option) for option in beam_options)
    parser = _Parser(allow_abbrev=False, add_help=False)
    for cls in _subclasses(PipelineOptions):
        cls._add_argparse_args(parser)
    actions = {name.lstrip("-"): action for action in parser._actions for name in action.option_strings}
    flags = []
    for key, value in values.items():
        if key not in actions and not _left_to_job_server(key, values, actions):
            raise UserError(f'--beam: Beam has no option "{key}"; {nearest(key, list(actions))}')
        if key in actions and actions[key].nargs == 0:
            flags += [f"--{key}"] if _truth(key, value) else []
        else:
            flags.append(f"--{key}={value}")
    parser.parse_known_args(flags)
    return PipelineOptions(flags)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UserError(f"--beam: {message}.")


def _split(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not key or not equals:
        raise UserError(
            f'--beam: expected KEY=VALUE, received "{option}", for example --beam runner=FlinkRunner '
            "parallelism=2."
        )
    return key.lstrip("-"), value


def _truth(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise UserError(f'--beam {key}: expected true or false, received "{value}".')
    return value.lower() == "true"


def _left_to_job_server(key: str, values: dict[str, str], known: dict[str, Any]) -> bool:
    return values.get("runner") in _PORTABLE and not difflib.get_close_matches(key, list(known), cutoff=0.8)


def _subclasses(cls: Any) -> Iterator[Any]:
    for child in cls.__subclasses__():
        if child.__module__.startswith("apache_beam.options"):
            yield child
            yield from _subclasses(child)
