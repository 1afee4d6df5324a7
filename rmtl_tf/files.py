"""Files that are whole or absent: digests, atomic JSON, atomic publishing of directories."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from rmtl_tf.places import is_remote, key


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(directory: Path) -> dict[str, str]:
    """sha256 of every file below `directory`, by relative POSIX path, sorted."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): digest_file(path) for path in files}


def digest_json(value: Any) -> str:
    """sha256 of a JSON-able value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes `text` so that a reader sees the old file or the whole new one."""
    if is_remote(path):
        path.write_text(text, encoding="utf-8")  # an object is whole or absent
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
