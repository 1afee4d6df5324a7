"""Numeric model versions in the directory TF Serving watches: published whole, listed, rolled back.

TF Serving loads the largest number it finds and ignores every other name, so a version becomes
visible by one rename of a finished directory to a number, and invisible by one rename away from it:

    <directory>/3/                 a version: SavedModel, `manifest.json`
    <directory>/.rolled-back-4/    a version taken back; its number is not given out again
    <directory>/.staging-*, .removing-*    unfinished work of the holder of `.lock`
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rmtl_tf import locks
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_json, digest_tree, publish, read_json, write_json

MANIFEST = "manifest.json"
WARMUP = "assets.extra/tf_serving_warmup_requests"
_ROLLED_BACK, _STAGING, _REMOVING = ".rolled-back-", ".staging-", ".removing-"


@dataclass(frozen=True)
class Push:
    """What `push` did.

    Attributes:
        version: number under which the model stands (or stood, if it was rolled back).
        path: its directory.
        new: True if this call published it.
        rolled_back: True if the model was taken back before and therefore is not published.
    """

    version: int
    path: Path
    new: bool
    rolled_back: bool = False


def versions(directory: Path) -> list[int]:
    """The versions TF Serving can see, ascending; empty if the directory does not exist."""
    return _numbers(directory, "")


def kept(directory: Path) -> list[Path]:
    """The folders of all versions that are there, those taken back too."""
    seen = [directory / str(version) for version in versions(directory)]
    return seen + [_rolled_back(directory, version) for version in _numbers(directory, _ROLLED_BACK)]


def number(version: Path) -> int | None:
    """The number under which a version was pushed, if its manifest is there."""
    return _manifest(version).get("version")


def latest(directory: Path) -> Path | None:
    """The version TF Serving serves: the one with the largest number."""
    found = versions(directory)
    return directory / str(found[-1]) if found else None


def latest_other_than(directory: Path, digest: str) -> Path | None:
    """The newest version that holds another model than the one with `digest` (`model_digest`)."""
    for version in reversed(versions(directory)):
        path = directory / str(version)
        if _manifest(path).get("model_digest") != digest:
            return path
    return None


def source(version: Path) -> Path | None:
    """The SavedModel a version was pushed from, if that is known and still there."""
    path = _manifest(version).get("source")
    return Path(path) if path is not None and Path(path).is_dir() else None


def model_digest(saved_model: Path) -> str:
    """sha256 over the files of a SavedModel; the same before a push and of the pushed version."""
    files = digest_tree(saved_model)
    own = {name: digest for name, digest in files.items() if name not in (MANIFEST, WARMUP)}
    return digest_json(own)


def push(saved_model: Path, directory: Path, keep: int, warmup: Path | None = None) -> Push:
    """Publishes a SavedModel as the next version, unless it is the newest already or was rolled back.

    Then only the newest `keep` versions stay. Killed at any moment, this leaves a whole version or none.

    Args:
        saved_model: directory with `saved_model.pb`.
        directory: model base path; created.
        keep: number of versions that stay, at least 1.
        warmup: TFRecord of PredictionLogs that TF Serving replays when it loads the version.

    Raises:
        UserError: `saved_model` holds no SavedModel.
    """
    if not (saved_model / "saved_model.pb").is_file():
        raise UserError(f"push: expected a SavedModel in {saved_model}, found no saved_model.pb there.")
    if keep < 1:
        raise ValueError(f"`keep` must be at least 1. Received: {keep}")
    digest = model_digest(saved_model)
    with locks.exclusive(directory / ".lock"):
        _clean(directory)
        newest = latest(directory)
        if newest is not None and _manifest(newest).get("model_digest") == digest:
            return Push(int(newest.name), newest, new=False)
        for version in reversed(_numbers(directory, _ROLLED_BACK)):
            path = _rolled_back(directory, version)
            if _manifest(path).get("model_digest") == digest:
                return Push(version, path, new=False, rolled_back=True)
        taken = [*versions(directory), *_numbers(directory, _ROLLED_BACK)]
        version = max(taken, default=0) + 1
        staging = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{os.getpid()}-", dir=directory))
        _stage(saved_model, staging, warmup, {"model_digest": digest, "version": version})
        publish(staging, directory / str(version))
        _prune(directory, keep)
        return Push(version, directory / str(version), new=True)


def rollback(directory: Path) -> tuple[int, int]:
    """Takes the newest version out of TF Serving's sight, so that the one before it serves again.

    Returns:
        (version taken back, version that serves now).

    Raises:
        UserError: there is no earlier version to go back to.
    """
    if not directory.is_dir():
        raise UserError(
            f"rollback: {directory} does not exist; nothing was pushed yet. Run the pipeline first."
        )
    with locks.exclusive(directory / ".lock"):
        found = versions(directory)
        if len(found) < 2:
            held = f"only version {found[0]}" if found else "no version"
            raise UserError(
                f"rollback: expected at least two versions in {directory}, found {held}. "
                "There is no earlier model to go back to: push a better one instead."
            )
        publish(directory / str(found[-1]), _rolled_back(directory, found[-1]))
        return found[-1], found[-2]


def verify(version: Path) -> list[str]:
    """What differs between a version's files and its manifest; empty if nothing does.

    Each entry names a file: `<file>: missing`, `<file>: changed` or `<file>: not in the manifest`.
    """
    expected = _manifest(version).get("files")
    if expected is None:
        return [f"{MANIFEST}: missing or unreadable"]
    found = {name: digest for name, digest in digest_tree(version).items() if name != MANIFEST}
    problems = [f"{name}: missing" for name in expected if name not in found]
    problems += [f"{name}: changed" for name in expected if name in found and found[name] != expected[name]]
    problems += [f"{name}: not in the manifest" for name in found if name not in expected]
    return sorted(problems)


def _stage(saved_model: Path, staging: Path, warmup: Path | None, about: Mapping[str, Any]) -> None:
    shutil.copytree(saved_model, staging, dirs_exist_ok=True)
    # mkdtemp makes a private directory; TF Serving often runs as another user.
    staging.chmod(0o755)
    if warmup is not None:
        target = staging / WARMUP
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(warmup, target)
    manifest = {
        **about,
        "pushed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": str(saved_model.resolve()),
        "files": digest_tree(staging),
    }
    write_json(staging / MANIFEST, manifest)


def _prune(directory: Path, keep: int) -> None:
    """Leaves the newest `keep` versions, and as many of the rolled-back ones."""
    old = [directory / str(version) for version in versions(directory)[:-keep]]
    old += [_rolled_back(directory, version) for version in _numbers(directory, _ROLLED_BACK)[:-keep]]
    for path in old:
        path.rename(directory / f"{_REMOVING}{path.name}")
    _clean(directory)


def _clean(directory: Path) -> None:
    """Removes unfinished work. Only the lock's holder works here, so all of it is a dead process's."""
    for prefix in (_STAGING, _REMOVING):
        for path in directory.glob(f"{prefix}*"):
            shutil.rmtree(path)


def _numbers(directory: Path, prefix: str) -> list[int]:
    if not directory.is_dir():
        return []
    names = [path.name for path in directory.iterdir() if path.name.startswith(prefix) and path.is_dir()]
    numbers = [name.removeprefix(prefix) for name in names]
    return sorted(int(text) for text in numbers if text.isdecimal() and str(int(text)) == text)


def _rolled_back(directory: Path, version: int) -> Path:
    return directory / f"{_ROLLED_BACK}{version}"


def _manifest(version: Path) -> dict[str, Any]:
    try:
        manifest = read_json(version / MANIFEST)
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}
