"""How a command joins the command line: its options, its help, and what every command shares."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.base import Component
from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.errors import UserError
from rmtl_tf.places import place

FORM = argparse.RawDescriptionHelpFormatter
Command = Callable[[argparse.Namespace], None]
CreatePipeline = Callable[[RunConfig, Sequence[str]], list[Component]]


@dataclass(frozen=True)
class Commands:
    """The command line under construction.

    Attributes:
        parsers: argparse's commands.
        examples: what `--help` shows below every command's options.
        create_pipeline: configuration, Beam options -> the components of a run, in order.
    """

    parsers: argparse._SubParsersAction[argparse.ArgumentParser]
    examples: str
    create_pipeline: CreatePipeline

    def add(self, name: str, text: str, command: Command) -> argparse.ArgumentParser:
        """A new command with `--debug`; `text` is its line in the list of commands."""
        sub = self.parsers.add_parser(
            name, help=text, description=text, epilog=self.examples, formatter_class=FORM
        )
        sub.set_defaults(command=command)
        sub.add_argument("--debug", action="store_true", help="more log lines; the traceback of an error")
        return sub

    def add_configured(self, name: str, text: str, command: Command) -> argparse.ArgumentParser:
        """A new command that cannot do without the configuration of a run."""
        sub = self.add(name, text, command)
        config_option(sub, required=True)
        set_option(sub)
        return sub


def a_place(text: str) -> Path:
    """An argument that names a local path or a URI of an object store."""
    try:
        return place(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def config_option(sub: argparse._ActionsContainer, required: bool = False) -> None:
    sub.add_argument(
        "--config",
        type=a_place,
        required=required,
        metavar="FILE",
        help="configuration of the run, see configs/",
    )


def set_option(sub: argparse._ActionsContainer) -> None:
    sub.add_argument(
        "--set",
        metavar="a.b=value",
        nargs="+",
        action="extend",
        default=[],
        help="replace fields of the configuration",
    )


def positive(what: str) -> Callable[[str], int]:
    """Reads an argument that is a whole number above 0; `what` it is a number of, for the message."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"expected a {what} above 0, received {text}")
        return int(text)

    return read


def beam_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--beam",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="options of Beam for ExampleGen and Transform, its runner first of all (docs/beam.md)",
    )


def configuration(arguments: argparse.Namespace) -> RunConfig:
    """The configuration that `--config` and `--set` name."""
    return load_config(arguments.config, arguments.set)
