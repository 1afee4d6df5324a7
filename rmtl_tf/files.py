"""Files that are whole or absent: digests, atomic JSON, atomic publishing of directories."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from rmtl_tf.places import is_remote, key

_SMALL = 8_000_000  # bytes that are read at once


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(directory: Path) -> dict[str, str]:
    """sha256 of every file below `directory`, by relative POSIX path, sorted."""
    if is_remote(directory):
        return _digest_objects(directory)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): digest_file(path) for path in files}


def _digest_objects(directory: Path) -> dict[str, str]:
    """As `digest_tree`, of an object store: one request for the names, one for each small object."""
    system, base = directory.fs, key(directory)  # type: ignore[attr-defined]
    found = {name.strip("/"): entry["size"] for name, entry in system.find(base, detail=True).items()}
    digests = {}
    for name, size in sorted(found.items()):
        if size <= _SMALL:
            digest = hashlib.sha256(system.cat_file(name)).hexdigest()
        else:
            with system.open(name, "rb", block_size=_SMALL) as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        digests[name.removeprefix(f"{base}/")] = digest
    return digests


def digest_json(value: Any) -> str:
    """sha256 of a JSON-able value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes `text` so that a reader sees the old file or the whole new one."""
    if is_remote(path):
        # One request: an object is whole or absent.
        path.fs.pipe_file(key(path), text.encode("utf-8"))  # type: ignore[attr-defined]
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=True) + "\n")


def read_text(path: Path) -> str:
    """The text of a file or object that may be written anew at the same time: the old or the new one."""
    if is_remote(path):
        # One request: `path.read_text` looks first, and fails where the object changes before it reads.
        return path.fs.cat_file(key(path)).decode("utf-8")  # type: ignore[attr-defined]
    return path.read_text(encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(read_text(path))


def publish(staging: Path, final: Path) -> None:
    """Makes a finished directory visible under its name in one rename, after everything is on disk.

    Raises:
        FileExistsError: `final` exists.
    """
    if final.exists():
        raise FileExistsError(f"{final} exists already")
    for directory, _, names in os.walk(staging):
        for name in names:
            _fsync(Path(directory) / name)
        _fsync(Path(directory))
    staging.rename(final)
    _fsync(final.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
