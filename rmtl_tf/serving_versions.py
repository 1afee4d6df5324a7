"""Numeric model versions in the directory TF Serving watches: published whole, listed, rolled back.

TF Serving loads the largest number it finds and ignores every other name, so a version becomes
visible by one rename of a finished directory to a number, and invisible by one rename away from it:

    <directory>/3/                 a version: SavedModel, `manifest.json`
    <directory>/models.config      which versions are `stable` and `canary` (`rmtl_tf.serving_labels`)
    <directory>/.rolled-back-4/    a version taken back; its number is not given out again
    <directory>/.staging-*, .removing-*    unfinished work of the holder of `.lock`

On an object store nothing can be renamed. There `saved_model.pb`, without which TF Serving loads nothing, is
sent last and removed first, and to us a version is there if it has one. TF Serving may list a number before:
it then fails to load that, keeps what it serves, and tries again. Where it reads `models.config`, which
changes when all is there, it does not even try.
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

from rmtl_tf import locks, storage
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_json, digest_tree, publish, read_json, write_json
from rmtl_tf.places import is_remote, origin, place, twin
from rmtl_tf.serving_labels import CANARY, LABELS, MODELS_CONFIG, STABLE, read_labels, write_labels

MANIFEST = "manifest.json"
WARMUP = "assets.extra/tf_serving_warmup_requests"
_MODEL = "saved_model.pb"
_LAST = (MANIFEST, _MODEL)
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
    """The version in use that holds another model than the one with `digest` (`model_digest`).

    That is the stable one or the newest before it; a canary only where there is no other.
    """
    stable = read_labels(directory).get(STABLE, 2**63)
    for version in sorted(versions(directory), key=lambda v: (v <= stable, v), reverse=True):
        path = directory / str(version)
        if _manifest(path).get("model_digest") != digest:
            return path
    return None


def source(version: Path) -> Path | None:
    """The SavedModel a version was pushed from, if that is known and still there."""
    path = _manifest(version).get("source")
    return place(path) if path is not None and place(path).is_dir() else None


def model_digest(saved_model: Path) -> str:
    """sha256 over the files of a SavedModel; the same before a push and of the pushed version."""
    files = digest_tree(saved_model)
    own = {name: digest for name, digest in files.items() if name not in (MANIFEST, WARMUP)}
    return digest_json(own)


def push(
    saved_model: Path, directory: Path, keep: int, warmup: Path | None = None, label: str = STABLE
) -> Push:
    """Publishes a SavedModel as the next version, unless it is the newest already or was rolled back.

    It becomes the canary, in place of one that waits, and with `stable` it is promoted at once. Then only the
    newest `keep` versions stay, and those with a label. Killed at any moment, this leaves a whole version or
    none; called again, it finishes.

    Args:
        saved_model: local directory with `saved_model.pb`.
        directory: model base path, local or on an object store; created.
        keep: number of versions that stay, at least 1.
        warmup: TFRecord of PredictionLogs that TF Serving replays when it loads the version.
        label: `stable` or `canary`.

    Raises:
        UserError: `saved_model` holds no SavedModel, or `models.config` cannot be understood.
    """
    if label not in LABELS:
        raise ValueError(f"`label` must be one of {', '.join(LABELS)}. Received: {label!r}")
    if not (saved_model / _MODEL).is_file():
        raise UserError(f"push: expected a SavedModel in {saved_model}, found no saved_model.pb there.")
    if keep < 1:
        raise ValueError(f"`keep` must be at least 1. Received: {keep}")
    digest = model_digest(saved_model)
    with locks.exclusive(directory / ".lock"):
        # A number that a killed push left half is not given out again: a server may have tried and given up.
        taken = [*_listed(directory, ""), *_listed(directory, _ROLLED_BACK)]
        _clean(directory)
        newest = latest(directory)
        if newest is not None and _manifest(newest).get("model_digest") == digest:
            _label(directory, int(newest.name), label)
            return Push(int(newest.name), newest, new=False)
        for version in reversed(_numbers(directory, _ROLLED_BACK)):
            path = _rolled_back(directory, version)
            if _manifest(path).get("model_digest") == digest:
                return Push(version, path, new=False, rolled_back=True)
        version = max(taken, default=0) + 1
        staging = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{os.getpid()}-", dir=twin(directory)))
        _stage(saved_model, staging, warmup, {"model_digest": digest, "version": version})
        before = _labels(directory)
        _publish(staging, directory / str(version))
        # The canary first: what was not promoted before it goes, so what stays below it was stable once.
        write_labels(directory, {STABLE: before.get(STABLE, version), CANARY: version})
        _prune(directory, keep)
        _label(directory, version, label)
        return Push(version, directory / str(version), new=True)


def promote(directory: Path) -> tuple[int, int]:
    """Makes the canary stable.

    Returns:
        (version that was stable, version that is).

    Raises:
        UserError: there is no canary beside the stable version.
    """
    if not directory.is_dir():
        raise UserError(
            f"promote: {directory} does not exist; nothing was pushed yet. Run the pipeline first."
        )
    with locks.exclusive(directory / ".lock"):
        labels = _labels(directory)
        if not labels or labels[STABLE] == labels[CANARY]:
            raise UserError(
                f"promote: expected a canary beside the stable version in {directory}, found none. "
                "Push one first: python pipeline.py push --label canary --config FILE"
            )
        write_labels(directory, dict.fromkeys(LABELS, labels[CANARY]))
        return labels[STABLE], labels[CANARY]


def rollback(directory: Path) -> tuple[int, int]:
    """Takes the newest version out of TF Serving's sight, so that the one before it serves again.

    A canary that waits is the newest; else it is the stable one. Its labels go to the version before it.

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
        if (unfinished := _finish_rollback(directory)) is not None:
            return unfinished, versions(directory)[-1]
        if len(found) < 2:
            held = f"only version {found[0]}" if found else "no version"
            raise UserError(
                f"rollback: expected at least two versions in {directory}, found {held}. "
                "There is no earlier model to go back to: push a better one instead."
            )
        kept = {label: min(version, found[-2]) for label, version in _labels(directory).items()}
        write_labels(directory, kept)
        _take_back(directory, found[-1])
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
        "source": str(origin(saved_model.resolve())),
        "files": digest_tree(staging),
    }
    write_json(staging / MANIFEST, manifest)


def _labels(directory: Path) -> dict[str, int]:
    """Label -> version; where none were written yet, or their version is gone, the newest is both.

    Empty without versions.
    """
    found = versions(directory)
    labels = {label: version for label, version in read_labels(directory).items() if version in found}
    if labels.keys() == set(LABELS):
        return labels
    return {label: version for version in found[-1:] for label in LABELS}


def _label(directory: Path, version: int, label: str) -> None:
    stable = version if label == STABLE else _labels(directory)[STABLE]
    labels = {STABLE: stable, CANARY: version}
    if read_labels(directory) != labels:
        write_labels(directory, labels)


def _prune(directory: Path, keep: int) -> None:
    """Leaves the newest `keep` versions and those with a label, and as many of the rolled-back ones.

    A version above the stable one without a label was a canary that another one replaced.
    """
    labels, found = _labels(directory), versions(directory)
    kept = {*labels.values(), *(version for version in found[-keep:] if version <= labels[STABLE])}
    old = [directory / str(version) for version in found if version not in kept]
    old += [_rolled_back(directory, version) for version in _numbers(directory, _ROLLED_BACK)[:-keep]]
    for path in old:
        if is_remote(path):
            storage.remove_tree(path, first=(_MODEL,))
        else:
            path.rename(directory / f"{_REMOVING}{path.name}")
    _clean(directory)


def _clean(directory: Path) -> None:
    """Removes unfinished work. Only the lock's holder works here, so all of it is a dead process's."""
    for prefix in (_STAGING, _REMOVING):
        for path in twin(directory).glob(f"{prefix}*"):
            shutil.rmtree(path)
    for path in twin(directory).glob(f".{MODELS_CONFIG}.*"):
        path.unlink()
    if is_remote(directory):
        _finish_rollback(directory)
        for prefix in ("", _ROLLED_BACK):
            for version in {*_listed(directory, prefix)} - {*_numbers(directory, prefix)}:
                storage.remove_tree(directory / f"{prefix}{version}")


def _publish(staging: Path, final: Path) -> None:
    if not is_remote(final):
        publish(staging, final)
        return
    storage.publish(staging, final, last=_LAST)
    shutil.rmtree(staging)


def _take_back(directory: Path, version: int) -> None:
    source, target = directory / str(version), _rolled_back(directory, version)
    if is_remote(directory):
        storage.move(source, target, last=_LAST)
    else:
        publish(source, target)


def _finish_rollback(directory: Path) -> int | None:
    """The version of a rollback that was killed when all was copied but not all removed; now it is."""
    if not is_remote(directory):
        return None
    for version in sorted({*_numbers(directory, _ROLLED_BACK)} & {*_listed(directory, "")}):
        storage.remove_tree(directory / str(version), first=(_MODEL,))
        return version
    return None


def _numbers(directory: Path, prefix: str) -> list[int]:
    """The numbers of whole folders: on a local disk there are no others."""
    return _listed(directory, prefix, holding=_MODEL if is_remote(directory) else "")


def _listed(directory: Path, prefix: str, holding: str = "") -> list[int]:
    names = storage.folders(directory, holding)
    numbers = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return sorted(int(text) for text in numbers if text.isdecimal() and str(int(text)) == text)


def _rolled_back(directory: Path, version: int) -> Path:
    return directory / f"{_ROLLED_BACK}{version}"


def _manifest(version: Path) -> dict[str, Any]:
    try:
        manifest = read_json(version / MANIFEST)
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}
