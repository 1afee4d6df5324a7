"""How a command joins the command line: its options, its help, and what every command shares."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.base import Component
from rmtl_tf.config import RunConfig, load_config

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


def config_option(sub: argparse._ActionsContainer, required: bool = False) -> None:
    sub.add_argument(
        "--config",
        type=Path,
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


def configuration(arguments: argparse.Namespace) -> RunConfig:
    """The configuration that `--config` and `--set` name."""
    return load_config(arguments.config, arguments.set)
