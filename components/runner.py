"""Runs a pipeline in this process: every step once for every key, its outputs whole or absent.

The key of a step is the sha256 of its input digests, parameters, `external(...)` and source; its
outputs are kept under it (`components/store.py`). A step whose key has outputs is not run again.
Equal content gives equal digests, so a step that is run again but writes the same bytes leaves all
later steps cached.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from components import run_status as state
from components.base import Component, Output
from components.run_status import StatusFile, StepResult
from components.sources import source_digest
from components.store import Artifact, cached, execute, note, sweep, work_directory
from rmtl_tf import locks, storage
from rmtl_tf.errors import UserError, from_system
from rmtl_tf.files import digest_json
from rmtl_tf.places import is_remote

logger = logging.getLogger(__name__)


def run(
    components: Sequence[Component],
    root: Path,
    on_event: Callable[[StepResult], None] | None = None,
    name: str | None = None,
    status_file: str | Path = state.STATUS_FILE,
) -> list[StepResult]:
    """Runs the components in order, skipping those whose outputs exist.

    One run per root at a time: a second one waits. `<root>/status.json` follows every change.

    Args:
        components: the pipeline; every input must be the output of an earlier component.
        root: pipeline root, local or on an object store; created.
        on_event: called with every step when it starts to run (state `running`) and when it ends.
        name: what status calls the run; default: the root's name.
        status_file: below the root; another one where this is no run of the pipeline, so that `status`,
            `push` and `gc` still see the last one.

    Returns:
        One `StepResult` for each component, `ran` or `cached`.

    Raises:
        ValueError: a name stands twice or an input comes from no earlier component.
        UserError: from a component; the files it keeps are in `<root>/failed/<Component>/`. Or for a full
            disk or a missing permission.
        Exception: anything else a component raises. In both cases status says which step failed.
    """
    _check_order(components)
    root = root if is_remote(root) else root.resolve()
    sources = {component.name: source_digest(type(component)) for component in components}
    with locks.exclusive(root / state.LOCK_FILE, waiting=lambda pid: _say_waiting(root, pid)):
        names = [component.name for component in components]
        status = StatusFile(root, name or root.name, names, status_file)
        return _Run(root, status, sources, on_event).go(components)


class _Run:
    """One run while the lock is held."""

    def __init__(
        self,
        root: Path,
        status: StatusFile,
        sources: Mapping[str, str],
        on_event: Callable[[StepResult], None] | None,
    ) -> None:
        self._root = root
        self._status = status
        self._sources = sources
        self._on_event = on_event
        self._artifacts: dict[Output, Artifact] = {}

    def go(self, components: Sequence[Component]) -> list[StepResult]:
        results = []
        try:
            for component in components:
                results.append(self._step(component))
        except BaseException as error:
            with _error_first():
                self._status.close(state.FAILED if isinstance(error, Exception) else state.INTERRUPTED)
            raise
        self._status.close(state.FINISHED)
        return results

    def _step(self, component: Component) -> StepResult:
        step = StepResult(component.name, state=state.RUNNING)
        began = time.monotonic()
        try:
            inputs = {key: self._artifacts[output] for key, output in component.inputs.items()}
            identity = self._identity(component, inputs)
            step = replace(step, key=digest_json(identity))
            final = self._root / component.name / step.key[:16]
            record = cached(component, final, step.key)
            sweep(final)
            if record is not None:
                note(final, record)
                step = replace(step, state=state.CACHED)
            else:
                self._tell(step)
                record = execute(component, inputs, identity, step.key, final, self._root)
                step = replace(step, state=state.RAN)
        except BaseException as error:
            mended = None if isinstance(error, UserError) else from_system(error, self._root)
            self._fail(component, replace(step, seconds=time.monotonic() - began), mended or error)
            if mended:
                raise mended from error
            raise
        outputs = {key: final / key for key in component.OUTPUTS}
        for key, output in component.outputs.items():
            self._artifacts[output] = Artifact(outputs[key], record["outputs"][key]["digest"], step.key)
        step = replace(step, seconds=time.monotonic() - began, outputs=outputs, made_in=record["seconds"])
        storage.remove_tree(self._root / "failed" / component.name)
        self._tell(step)
        return step

    def _identity(self, component: Component, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
        """Everything that can change the outputs; equal identities mean equal work."""
        paths = {key: artifact.path for key, artifact in inputs.items()}
        return {
            "component": component.name,
            "inputs": {key: artifact.digest for key, artifact in inputs.items()},
            "parameters": component.parameters.model_dump(mode="json"),
            "external": component.external(paths, component.parameters),
            "source": self._sources[component.name],
        }

    def _fail(self, component: Component, step: StepResult, error: BaseException) -> None:
        if isinstance(error, UserError):
            _keep(error, self._root / "failed" / component.name)
        if step.key and not component.RESUMABLE:
            shutil.rmtree(work_directory(self._root / component.name / step.key[:16]), ignore_errors=True)
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        failed = isinstance(error, Exception)
        with _error_first():
            self._tell(replace(step, state=state.FAILED if failed else state.INTERRUPTED, error=text))

    def _tell(self, step: StepResult) -> None:
        self._status.update(step)
        if step.state == state.RUNNING:
            logger.info("%-14s running", step.name)
        elif step.state == state.CACHED:
            logger.info("%-14s cached (made in %.1f s)", step.name, step.made_in)
        else:
            logger.info("%-14s %s after %.1f s", step.name, step.state, step.seconds)
        if self._on_event is not None:
            self._on_event(step)


@contextlib.contextmanager
def _error_first() -> Iterator[None]:
    """Where the disk is full, not even the status can be written: the error itself must still be told."""
    try:
        yield
    except OSError as error:
        logger.warning("status.json could not be written: %s", error)


def _keep(error: UserError, directory: Path) -> None:
    """Copies the files of `error.keep` to `directory` and says so in the message."""
    kept = []
    storage.remove_tree(directory)
    for path in error.keep:
        with contextlib.suppress(OSError):
            if is_remote(directory):
                (directory / path.name).write_bytes(path.read_bytes())
            else:
                directory.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, directory / path.name)
            kept.append(directory / path.name)
    if kept:
        error.keep = tuple(kept)
        error.args = ("\n".join([str(error), *(f"Kept: {path}" for path in kept)]),)


def _check_order(components: Sequence[Component]) -> None:
    known: set[Output] = set()
    names: set[str] = set()
    for component in components:
        if component.name in names:
            raise ValueError(f"pipeline: {component.name} stands twice; outputs are kept by component name")
        for key, output in component.inputs.items():
            if output not in known:
                where = f"{output.component}, not a component before it"
                raise ValueError(f"pipeline: {component.name} reads {key!r} from {where}")
        names.add(component.name)
        known.update(component.outputs.values())


def _say_waiting(root: Path, pid: int | None) -> None:
    logger.info("%s: another run works here (process %s); waiting for it to end", root, pid or "unknown")
