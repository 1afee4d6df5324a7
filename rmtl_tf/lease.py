"""One writer at a time on an object store: a lease that its holder renews, and that ends when it does not.

A store has no lock that dies with its holder, but it can refuse to write an object that is there already.
So a lease is a numbered object, `<path>-lease/0000000007`, and who could create the largest number holds it.
The holder rewrites it every few seconds. It is over when it says so, or when it was not rewritten for
`EXPIRES` seconds by the watch of whoever waits: no clocks are compared. The next one creates the next number.
A new process of the same machine and scratch folder takes over at once: it holds the lock of the twin, so the
process that held the lease before is dead.

What this guarantees: two runs never write at the same time, unless one of them is stopped (a frozen machine,
a network that is gone) for longer than `EXPIRES` seconds and then goes on. That one is interrupted at its
next renewal. What both may have written until then is found out by the digest of what they wrote.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from rmtl_tf.files import read_json, write_text
from rmtl_tf.places import key, scratch

RENEW, EXPIRES = 10.0, 60.0  # seconds
_LOOK = 1.0
_INTERRUPT = signal.SIGUSR1

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def lease(path: Path, waiting: Callable[[int | None], None] | None = None) -> Iterator[None]:
    """Holds the lease of the remote `path` for the duration of a `with` block.

    If it is lost within, the main thread gets a KeyboardInterrupt, also where the process ignores SIGINT (one
    that a shell started in the background). The caller holds the lock of the path's twin.

    Args:
        waiting: called once with the holder's process id before a wait.
    """
    owner = _owner()
    number = _acquire(path, owner, waiting)
    ended = threading.Event()
    arguments = (path, number, owner, ended)
    thread = threading.Thread(target=_renew, args=arguments, daemon=True, name=f"lease of {path}")
    with _interruptible():
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            _release(path, number, owner)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Within it `_INTERRUPT` interrupts the main thread, which alone may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(_INTERRUPT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(_INTERRUPT, before)


def _release(path: Path, number: int, owner: str) -> None:
    """What was done is done even where this fails: the lease then ends by itself."""
    try:
        if _numbers(path)[-1:] == [number]:
            write_text(_object(path, number), _claim(owner, held=False))
    except Exception as error:  # a store's clients have errors of their own
        logger.warning("%s: the lease could not be freed (%s); it ends in %g s.", path, error, EXPIRES)


def leaseholder(path: Path) -> int | None:
    """Process id of who holds the lease of `path`; None if nobody does, as far as one look can tell."""
    from rmtl_tf import locks
    from rmtl_tf.places import twin

    numbers = _numbers(path)
    claim, age = _read(path, numbers[-1]) if numbers else ({}, 0.0)
    if not claim.get("held") or age > EXPIRES:
        return None
    if claim["owner"] == _owner() and locks.holder(twin(path)) is None:
        return None
    return int(claim["pid"])


def _acquire(path: Path, owner: str, waiting: Callable[[int | None], None] | None) -> int:
    """The number of the lease that is held from now on."""
    seen: Any = None
    since = time.monotonic()
    while True:
        numbers = _numbers(path)
        newest = numbers[-1] if numbers else 0
        claim, _ = _read(path, newest) if numbers else ({}, 0.0)
        first = seen is None
        if (newest, claim) != seen:
            seen, since = (newest, claim), time.monotonic()
        over = not claim.get("held") or claim.get("owner") == owner or time.monotonic() - since > EXPIRES
        if over and _create(path, newest + 1, owner):
            # Someone may have been slower to look and faster to create: the largest number counts.
            if _numbers(path)[-1] == newest + 1:
                for old in numbers:
                    _object(path, old).unlink(missing_ok=True)
                return newest + 1
            _object(path, newest + 1).unlink(missing_ok=True)
        elif not over:
            if first and waiting is not None:
                waiting(claim.get("pid"))
            time.sleep(min(_LOOK, EXPIRES / 10))


def _renew(path: Path, number: int, owner: str, ended: threading.Event) -> None:
    while not ended.wait(RENEW):
        try:
            if _numbers(path)[-1:] != [number]:
                logger.error("%s: another run took over after this one was silent too long; stopping.", path)
                prepared = signal.getsignal(_INTERRUPT) is signal.default_int_handler
                interrupt = _INTERRUPT if prepared else signal.SIGINT
                signal.pthread_kill(threading.main_thread().ident or 0, interrupt)
                return
            write_text(_object(path, number), _claim(owner, held=True))
        except Exception as error:  # a store's clients have errors of their own
            logger.warning("%s: the lease could not be renewed (%s); trying again.", path, error)


def _claim(owner: str, held: bool) -> str:
    return json.dumps({"held": held, "owner": owner, "pid": os.getpid(), "renewed": time.time()})


def _owner() -> str:
    """Who shares the locks of the twins: this machine and scratch folder, which gets a name once."""
    file = scratch() / ".owner"
    if not file.is_file():
        write_text(file, uuid.uuid4().hex)
    return f"{file.read_text(encoding='utf-8')} on {socket.gethostname()}"


def _create(path: Path, number: int, owner: str) -> bool:
    """Creates the object of a number, if nobody else did."""
    target = _object(path, number)
    try:
        target.fs.pipe_file(key(target), _claim(owner, held=True).encode(), mode="create")  # type: ignore[attr-defined]
    except FileExistsError:
        return False
    except OSError as error:
        # Stores word it differently, and some say conflict where two write at the same time.
        answer = getattr(error.__cause__, "response", {}).get("Error", {})
        if answer.get("Code") in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
            return False
        raise
    return True


def _numbers(path: Path) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        names = [PurePosixPath(name).name for name in path.fs.ls(key(_folder(path)), detail=False)]  # type: ignore[attr-defined]
        return sorted(int(name) for name in names if name.isdecimal())
    return []


def _folder(path: Path) -> Path:
    """Not `path` itself: a copy of its folder may stand where the twin of `path`, a file, is."""
    return path.with_name(f"{path.name}-lease")


def _object(path: Path, number: int) -> Path:
    return _folder(path) / f"{number:010d}"


def _read(path: Path, number: int) -> tuple[dict[str, Any], float]:
    """What a lease says ({} if it is gone), and its age in seconds by the clocks of two machines."""
    try:
        claim = read_json(_object(path, number))
    except FileNotFoundError:
        return {}, 0.0
    return claim, time.time() - claim["renewed"]
