"""`status`, `lineage`, `diff`, `gc`: what ran, what made it, what differs, what nobody needs any more."""

from __future__ import annotations

import argparse
from pathlib import Path

from commands.base import Commands, config_option, configuration, set_option
from components import garbage, summary
from components.lineage import difference_text, lineage_text
from rmtl_tf.errors import UserError


def add(commands: Commands) -> None:
    of_status = commands.add("status", "steps, cache hits, durations, artifacts and pushed versions", status)
    where = of_status.add_mutually_exclusive_group(required=True)
    config_option(where)
    where.add_argument("--root", type=Path, metavar="FOLDER", help="or its pipeline root")
    set_option(of_status)
    of_lineage = commands.add(
        "lineage", "what made a pushed version or an artifact, from the raw files on", lineage
    )
    of_lineage.add_argument(
        "place",
        type=Path,
        metavar="VERSION",
        help="number of a pushed version (with --config); or a folder: of a version, a step's outputs, a run",
    )
    config_option(of_lineage)
    set_option(of_lineage)
    of_lineage.add_argument(
        "--check", action="store_true", help="read every artifact again: is it what was recorded?"
    )
    of_diff = commands.add("diff", "which input, setting or source is different, and how metrics moved", diff)
    for number in ("first", "second"):
        of_diff.add_argument(
            number,
            type=Path,
            metavar=number.upper(),
            help="a run's root, a step's outputs, or a pushed version",
        )
    of_gc = commands.add_configured(
        "gc", "remove artifacts that neither the last run nor a pushed model needs", gc
    )
    of_gc.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    of_gc.add_argument(
        "--keep-days", type=float, default=0.0, metavar="N", help="also keep what was made in the last N days"
    )


def status(arguments: argparse.Namespace) -> None:
    if arguments.root is not None:
        print(summary.status_text(arguments.root, None))
        return
    config = configuration(arguments)
    print(summary.status_text(config.pipeline_root, config.serving_directory))


def lineage(arguments: argparse.Namespace) -> None:
    place = arguments.place
    if place.name == str(place) and str(place).isdecimal():
        if arguments.config is None:
            raise UserError(f"lineage: version {place} of which run? Add --config FILE, or give its folder.")
        place = configuration(arguments).serving_directory / place
    print(lineage_text(place, arguments.check))


def diff(arguments: argparse.Namespace) -> None:
    print(difference_text(arguments.first, arguments.second))


def gc(arguments: argparse.Namespace) -> None:
    config = configuration(arguments)
    found = garbage.collect(
        config.pipeline_root, config.serving_directory, arguments.keep_days, arguments.dry_run
    )
    for folder, size in found.removed.items():
        print(f"{size / 1e6:10.1f} MB  {summary.shown(folder)}")
    total = sum(found.removed.values()) / 1e6
    verb = "would be removed" if arguments.dry_run else "removed"
    print(f"{len(found.removed)} outputs of steps {verb} ({total:.1f} MB); {len(found.kept)} are needed.")
