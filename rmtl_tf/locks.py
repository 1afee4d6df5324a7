"""One writer at a time: an advisory lock on a file, freed by the system when its holder dies.

On an object store a lease (`rmtl_tf.lease`) does the same between machines; within one, the lock of its twin.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rmtl_tf.places import is_remote, twin

# A reader of `holder` takes the lock for an instant; only a longer wait is worth telling.
_PATIENCE_SECONDS = 0.2


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[int | None], None] | None = None) -> Iterator[None]:
    """Holds the lock of `path` for the duration of a `with` block.

    The file keeps the holder's process id for those who wait; it is never removed, since a lock on
    a removed file excludes nobody.

    Args:
        path: the lock file; it and its folder are created.
        waiting: called once with the holder's process id (None if unknown) before a long wait.
    """
    if is_remote(path):
        from rmtl_tf.lease import lease

        with exclusive(twin(path), waiting), lease(path, waiting):
            yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        _acquire(stream.fileno(), path, waiting)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def holder(path: Path) -> int | None:
    """Process id of who holds the lock of `path`; None if nobody does."""
    if is_remote(path):
        from rmtl_tf.lease import leaseholder

        return leaseholder(path)
    try:
        stream = path.open(encoding="utf-8")
    except OSError:
        return None
    with stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_pid(path)
        return None


def _acquire(descriptor: int, path: Path, waiting: Callable[[int | None], None] | None) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                break
            time.sleep(_PATIENCE_SECONDS / 10)
    if waiting is not None:
        waiting(_read_pid(path))
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
