"""What became of each step of one run on Kubeflow, as small files beside its artifacts.

The exit handler gets no artifacts and no errors from kfp. But the outputs of all tasks of a run lie below one
folder, `<root>/<pipeline>/<run>/<task>/...`, so every step finds that folder from its own outputs and leaves
a record there; it is no input of anything, so it does not touch caching.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.run_status import CACHED, FAILED, INTERRUPTED, NOT_RUN, RAN, RUNNING, now
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json, write_json

logger = logging.getLogger(__name__)

RECORDS = "step-records"
_KEPT = "failed"


def run_folder(output: Path, task: str) -> Path:
    """The folder of a run, above the one of `task` in the path of one of its outputs.

    Vertex AI names that folder after the task and a number, the others after the task alone.
    """
    for folder in output.parents:
        if folder.name == task or folder.name.startswith(f"{task}_"):
            return folder.parent
    return output.parent.parent


class StepRecord:
    """Says of one step that it runs, and how it ended.

    Args:
        folder: of the run.
        step: its name.
        inputs, outputs: where its artifacts are, by key.
    """

    def __init__(
        self, folder: Path, step: str, inputs: Mapping[str, str], outputs: Mapping[str, str]
    ) -> None:
        self._folder, self._step = folder, step
        self.facts: dict[str, Any] = {"step": step, "inputs": dict(inputs), "outputs": dict(outputs)}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Around the step's work: `running`, then `ran` or `failed`. A killed one stays `running`."""
        self._write(state=RUNNING, started=now())
        try:
            yield
        except BaseException as error:
            known = isinstance(error, UserError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            files = (
                _keep(error.keep, self._folder / _KEPT / self._step) if isinstance(error, UserError) else []
            )
            self._write(state=FAILED, finished=now(), error=text, kept=files)
            raise
        self._write(state=RAN, finished=now())

    def _write(self, **facts: Any) -> None:
        self.facts.update(facts)
        try:
            write_json(self._folder / RECORDS / f"{self._step}.json", self.facts)
        except OSError as error:  # a report is worth less than the step
            logger.warning("the record of %s could not be written: %s", self._step, error)


def read_records(folder: Path, steps: Sequence[str]) -> list[dict[str, Any]]:
    """The records of `steps` in order; of a step without one its name, and what follows from the others.

    The last step of a pipeline is never cached. So a step without a record before one that has one was
    cached, and a step after all that have one was not run.
    """
    found = [_read(folder, step) for step in steps]
    last = max((place for place, record in enumerate(found) if record is not None), default=-1)
    records = []
    for place, (step, record) in enumerate(zip(steps, found, strict=True)):
        if record is None:
            record = {"step": step, "state": CACHED if place < last else NOT_RUN}
        elif record["state"] == RUNNING:
            record["state"] = INTERRUPTED
        records.append(record)
    return records


def _read(folder: Path, step: str) -> dict[str, Any] | None:
    try:
        return read_json(folder / RECORDS / f"{step}.json")
    except (OSError, ValueError):
        return None


def _keep(files: Sequence[Path], folder: Path) -> list[str]:
    kept = []
    for file in files:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            kept.append(str(shutil.copy2(file, folder / file.name)))
    return kept
