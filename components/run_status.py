"""`<root>/status.json`: what the run of a pipeline root is doing, or did last."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rmtl_tf import locks
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json, write_json
from rmtl_tf.places import is_remote

STATUS_FILE = "status.json"
LOCK_FILE = ".lock"
FAILED, RUNNING, RAN, CACHED = "failed", "running", "ran", "cached"
NOT_RUN, INTERRUPTED, FINISHED = "not run", "interrupted", "finished"


@dataclass(frozen=True)
class StepResult:
    """What became of one component in a run.

    Attributes:
        name: the component's.
        key: of its outputs, sha256 in hex; empty while it is not known.
        state: `running`, `ran`, `cached`, `failed`, `interrupted` or `not run`.
        seconds: spent on it in this run.
        outputs: directory of each output, by key; empty unless it ran or was cached.
        made_in: seconds the outputs took when they were made; None if there are none.
        error: the text of the error that stopped it.
    """

    name: str
    key: str = ""
    state: str = NOT_RUN
    seconds: float = 0.0
    outputs: Mapping[str, Path] = field(default_factory=dict)
    made_in: float | None = None
    error: str | None = None


class StatusFile:
    """Keeps `<root>/status.json` equal to the run's state: whole at any moment.

    Args:
        root: pipeline root.
        run_name: what the run calls itself.
        names: of the components, in order.
        file: its name below the root.
    """

    def __init__(
        self, root: Path, run_name: str, names: Sequence[str], file: str | Path = STATUS_FILE
    ) -> None:
        self._root, self._file = root, root / file
        self._steps = {name: StepResult(name) for name in names}
        self._run = {
            "run": run_name,
            "pid": os.getpid(),
            "started": now(),
            "state": RUNNING,
            "finished": None,
        }
        self._step_started: dict[str, str] = {}
        self._write()

    def update(self, step: StepResult) -> None:
        if step.state == RUNNING:
            self._step_started[step.name] = now()
        self._steps[step.name] = step
        self._write()

    def close(self, state: str) -> None:
        self._run.update(state=state, finished=now())
        self._write()

    def _write(self) -> None:
        steps = [self._record(step) for step in self._steps.values()]
        write_json(self._file, {**self._run, "steps": steps})

    def _record(self, step: StepResult) -> dict[str, Any]:
        outputs = {key: path.relative_to(self._root).as_posix() for key, path in step.outputs.items()}
        return {
            "name": step.name,
            "key": step.key,
            "state": step.state,
            "started": self._step_started.get(step.name),
            "seconds": round(step.seconds, 3),
            "made_in": step.made_in,
            "outputs": outputs,
            "error": step.error,
        }


def read_status(root: Path) -> dict[str, Any]:
    """The content of `<root>/status.json`, with `interrupted` where a run was killed.

    Returns:
        {"run", "pid", "started", "finished", "state", "steps": [{"name", "key", "state", "started",
        "seconds", "made_in", "outputs": {key: path below root}, "error"}]}. A running step's
        seconds count up to now.

    Raises:
        UserError: there was no run in `root`.
    """
    try:
        status = read_json(root / STATUS_FILE)
    except (OSError, ValueError):
        raise UserError(
            f"{root}: no run found (expected {root / STATUS_FILE}). Start one with: "
            "python pipeline.py run --config configs/simulator.yaml"
        ) from None
    # The process of a run on an object store may be another machine's: its lease says whether it lives.
    alive = status["state"] != RUNNING or (
        (is_remote(root) or _alive(status["pid"])) and locks.holder(root / LOCK_FILE) is not None
    )
    if not alive:
        status["state"] = INTERRUPTED
    for step in status["steps"]:
        if step["state"] == RUNNING and not alive:
            step["state"] = INTERRUPTED
        elif step["state"] == RUNNING:
            step["seconds"] = time.time() - datetime.fromisoformat(step["started"]).timestamp()
    return status


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
