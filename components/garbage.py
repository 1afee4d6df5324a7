"""Removes artifacts that nothing needs any more."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.lineage import Step, ancestry, find, read_step
from components.run_status import LOCK_FILE, STATUS_FILE
from components.store import EXECUTION_FILE
from rmtl_tf import locks, serving_versions, storage
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json
from rmtl_tf.places import is_remote, twin

_DAY = 86_400
_KEY = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class Garbage:
    """What was found.

    Attributes:
        removed: outputs of steps that nothing needs, with their size in bytes.
        kept: outputs that stay.
    """

    removed: dict[Path, int]
    kept: list[Path]


def collect(root: Path, serving: Path, days: float = 0.0, dry_run: bool = False) -> Garbage:
    """Removes the outputs of steps, except what the last run, a pushed model or a young step is made of.

    Versions that were rolled back count as pushed. Works under the root's lock: never beside a run.

    Args:
        root: pipeline root.
        serving: model base path of its pushed models.
        days: also keep what was made in the last so many days.
        dry_run: find, but remove nothing.

    Raises:
        UserError: `root` had no run.
    """
    root = root if is_remote(root) else root.resolve()
    if not (root / STATUS_FILE).is_file():
        raise UserError(f"{root}: no run found (expected {root / STATUS_FILE}). Give the root of a run.")
    with locks.exclusive(root / LOCK_FILE):
        # An execution record is written before its folder is published: each of these is whole.
        steps = [read_step(path.parent) for path in sorted(root.glob(f"[!.]*/[!.]*/{EXECUTION_FILE}"))]
        needed = {folder for step in _needed(root, serving, steps, days) for folder in _whole(step)}
        removed = {step.folder: storage.size(step.folder) for step in steps if step.folder not in needed}
        removed |= {folder: storage.size(folder) for folder in _unfinished(root, steps)}
        for folder in () if dry_run else removed:
            _remove(folder)
    return Garbage(removed, [step.folder for step in steps if step.folder in needed])


def _unfinished(root: Path, steps: list[Step]) -> list[Path]:
    """What killed runs sent to an object store without its record; local work is aside under other names."""
    if not is_remote(root):
        return []
    whole = {step.folder for step in steps}
    found = [root / name / key for name in storage.folders(root) for key in storage.folders(root / name)]
    return [folder for folder in found if _KEY.fullmatch(folder.name) and folder not in whole]


def _remove(folder: Path) -> None:
    """Out of sight first: a kill in between leaves no half artifact."""
    if is_remote(folder):
        storage.remove_tree(folder, first=(EXECUTION_FILE,))
        if not twin(folder).is_dir():
            return
        folder = twin(folder)
    aside = folder.with_name(f".stale-{folder.name}")
    folder.rename(aside)
    storage.remove_tree(aside)


def _needed(root: Path, serving: Path, steps: list[Step], days: float) -> Iterator[Step]:
    for entry in read_json(root / STATUS_FILE)["steps"]:
        for path in entry["outputs"].values():
            if (root / path).parent.is_dir():
                yield read_step((root / path).parent)
    for version in serving_versions.kept(serving):
        model = serving_versions.source(version)
        if model is not None and model.is_relative_to(root):
            yield find(version)
    for step in steps:
        if time.time() - (step.folder / EXECUTION_FILE).stat().st_mtime < days * _DAY:
            yield step


def _whole(step: Step) -> list[Path]:
    """The folders of a step and of all it came from. Of a step of the last run something may be missing:
    what is there is kept."""
    try:
        return [one.folder for one in ancestry(step)]
    except UserError:
        return [step.folder]
