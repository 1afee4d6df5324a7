"""Files on an object store, as local copies and back.

TensorFlow, Beam, polars and the kernel's renames and locks want local files, and TensorFlow 2.21 cannot open
s3:// at all. So nothing computes on a store: inputs are copied from there (`local`), results are made in
a local folder and then sent there (`publish`); only small files are read and written in place. A store has no
rename: what readers trust is an object that is written last and removed first.

Local copies lie below `places.scratch()`, each under the path of its place. All of it can be fetched again,
but for `.work-*`, the unfinished work of a killed run.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rmtl_tf import locks
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json, write_json
from rmtl_tf.places import is_remote, key, scratch, twin


def local(path: Path) -> Path:
    """A place as local files that are what is there now; only what is new or changed is copied.

    A local path is given back as it is.

    Args:
        path: an object, or a prefix with objects below it.

    Returns:
        The file or folder with the copy. Do not write into it.

    Raises:
        UserError: there is nothing.
    """
    if not is_remote(path):
        return path
    copy, index = twin(path), _index(path)
    with locks.exclusive(index.with_suffix(".lock")):
        found = _marks(path)
        if not found:
            raise UserError(f"{path}: expected an object, or objects below it, found none. Mend the place.")
        known = _known(index)
        wanted = [name for name in found if known.get(name) != found[name] or not (copy / name).is_file()]
        gone = known.keys() - found.keys()
        if wanted or gone:
            # Killed from here on, the next call knows which files to doubt.
            write_json(index, {**known, **dict.fromkeys(wanted)})
            _fetch(path, copy, wanted, index.with_suffix(".parts"))
            for name in gone:
                (copy / name).unlink(missing_ok=True)
            write_json(index, found)
    return copy


def held(path: Path) -> Path:
    """The local copy of a place where it is what is there now, else the place itself. Copies nothing."""
    if not is_remote(path) or _known(_index(path)) != _marks(path):
        return path
    return twin(path) if twin(path).exists() else path


def remember(path: Path) -> None:
    """Says that the twin of a remote place holds what is there: it was just published from it."""
    with locks.exclusive(_index(path).with_suffix(".lock")):
        write_json(_index(path), _marks(path))


def publish(directory: Path, target: Path, last: Sequence[str] = ()) -> None:
    """Sends the files below a local directory to a remote place, in the place of what is there.

    Args:
        last: names of files that are sent after all others, one by one: the last one is what tells a
            reader that everything is there. Of what was there before they are removed first.
    """
    remove_tree(target, first=tuple(reversed(last)))
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    names = [file.relative_to(directory).as_posix() for file in files]
    system, base = _system(target), key(target)
    together = [name for name in names if name not in last]
    if together:
        system.put([str(directory / name) for name in together], [f"{base}/{name}" for name in together])
    for name in last:
        system.put_file(str(directory / name), f"{base}/{name}")


def move(source: Path, target: Path, last: Sequence[str]) -> None:
    """Moves a remote folder: copied inside the store, whole under its new name before the old one goes.

    Args:
        last: as in `publish`, for both: a reader sees the old folder, both, or the new one; never a half.
    """
    names = sorted(_marks(source))
    remove_tree(target, first=tuple(reversed(last)))
    for name in [*(name for name in names if name not in last), *last]:
        _system(source).cp_file(f"{key(source)}/{name}", f"{key(target)}/{name}")
    remove_tree(source, first=tuple(reversed(last)))


def remove_tree(path: Path, first: Sequence[str] = ()) -> None:
    """Removes a folder, or all objects below a prefix, if there is one.

    Args:
        first: of a remote one, names that are removed before all others, one by one.
    """
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    system, names = _system(path), _marks(path)
    for name in first:
        if name in names:
            system.rm_file(f"{key(path)}/{name}")
    rest = [f"{key(path)}/{name}" for name in names if name not in first]
    if rest:
        system.rm(rest)


def folders(path: Path, holding: str = "") -> list[str]:
    """Names of the folders in a folder, or only of those that hold a certain file; none where it is not."""
    if not is_remote(path):
        found = [entry for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []
        return [entry.name for entry in found if not holding or (entry / holding).is_file()]
    if holding:
        names = [PurePosixPath(name) for name in _marks(path)]
        return [name.parts[0] for name in names if len(name.parts) > 1 and name == name.parent / holding]
    try:
        entries = _system(path).ls(key(path), detail=True)
    except FileNotFoundError:
        return []
    return [PurePosixPath(entry["name"]).name for entry in entries if entry["type"] == "directory"]


def size(path: Path) -> int:
    """Bytes of all files below a folder; files with other names elsewhere (joined spans) count as well."""
    if is_remote(path):
        return sum(mark[0] for mark in _marks(path).values())
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())


def _system(path: Path) -> Any:
    return path.fs  # type: ignore[attr-defined]


def _marks(path: Path) -> dict[str, list[Any]]:
    """Size and identity of every object at or below a place, by the rest of its name ("" for itself)."""
    base = key(path)
    return {
        name.strip("/").removeprefix(base).lstrip("/"): [entry["size"], _identity(entry)]
        for name, entry in _system(path).find(base, detail=True).items()
    }


def _identity(entry: Mapping[str, Any]) -> str:
    """What differs when an object was written again: the store's checksum or number, else its time."""
    keys = ("ETag", "etag", "md5Hash", "generation", "LastModified", "updated", "mtime", "created")
    return next((str(entry[name]) for name in keys if entry.get(name) is not None), "")


def _index(path: Path) -> Path:
    """The file that says what the local copy of a place is a copy of."""
    name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
    return scratch() / ".fetched" / f"{name}.json"


def _known(index: Path) -> dict[str, Any]:
    try:
        return read_json(index)
    except (OSError, ValueError):
        return {}


def _fetch(path: Path, copy: Path, names: Iterable[str], parts: Path) -> None:
    """Copies objects into the folder `parts`, and each to its place when all are whole."""
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    aside = {name: parts / str(number) for number, name in enumerate(names)}
    if aside:
        objects = [f"{key(path)}/{name}".rstrip("/") for name in aside]
        _system(path).get(objects, [str(part) for part in aside.values()])
    for name, part in aside.items():
        target = copy / name if name else copy
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
    parts.rmdir()
