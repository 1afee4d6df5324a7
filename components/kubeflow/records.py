"""What became of each step of one run on Kubeflow, as small files beside its artifacts.

The exit handler gets no artifacts and no errors from kfp. But the outputs of all tasks of a run lie below one
folder, `<root>/<pipeline>/<run>/<task>/...`, so every step finds that folder from its own outputs and leaves
a record there; it is no input of anything, so it does not touch caching.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.run_status import CACHED, FAILED, INTERRUPTED, NOT_RUN, RAN, RUNNING, now
from rmtl_tf import places
from rmtl_tf.errors import UserError

logger = logging.getLogger(__name__)

RECORDS = "step-records"
_KEPT = "failed"


def run_folder(output: str, task: str) -> str:
    """The folder of a run, above the one of `task` in the path or URI of one of its outputs.

    Vertex AI names that folder after the task and a number, the others after the task alone.
    """
    parts = output.split("/")
    for place in range(len(parts) - 2, 0, -1):
        if parts[place] == task or parts[place].startswith(f"{task}_"):
            return "/".join(parts[:place])
    return "/".join(parts[:-2])


@contextlib.contextmanager
def opened(file: str, mode: str = "rb") -> Iterator[Any]:
    """A file by its path or URI: what lies on an object store is read and written there.

    Kubeflow's launcher uploads the artifacts of a step that succeeded, and nothing of one that failed.
    """
    where = places.place(file)
    if not places.is_remote(where) and "r" not in mode:
        where.parent.mkdir(parents=True, exist_ok=True)
    with where.open(mode) as stream:
        yield stream


class StepRecord:
    """Says of one step that it runs, and how it ended.

    Args:
        folder: of the run.
        step: its name.
        inputs, outputs: where its artifacts are, by key.
    """

    def __init__(self, folder: str, step: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
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
                _keep(error.keep, f"{self._folder}/{_KEPT}/{self._step}")
                if isinstance(error, UserError)
                else []
            )
            self._write(state=FAILED, finished=now(), error=text, kept=files)
            raise
        self._write(state=RAN, finished=now())

    def _write(self, **facts: Any) -> None:
        self.facts.update(facts)
        try:
            with opened(f"{self._folder}/{RECORDS}/{self._step}.json", "wb") as stream:
                stream.write(json.dumps(self.facts, indent=1, sort_keys=True).encode())
        except Exception as error:  # of any store's kind; a report is worth less than the step
            logger.warning("the record of %s could not be written: %s", self._step, error)


def read_records(folder: str, steps: Sequence[str]) -> list[dict[str, Any]]:
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


def _read(folder: str, step: str) -> dict[str, Any] | None:
    try:
        with opened(f"{folder}/{RECORDS}/{step}.json") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None
    except Exception as error:  # of any store's kind: the page is written from what can be read
        logger.warning("the record of %s could not be read: %s", step, error)
        return None


def _keep(files: Sequence[Path], folder: str) -> list[str]:
    kept = []
    for file in files:
        try:
            with file.open("rb") as source, opened(f"{folder}/{file.name}", "wb") as target:
                shutil.copyfileobj(source, target)
            kept.append(f"{folder}/{file.name}")
        except Exception as error:  # as above
            logger.warning("%s could not be kept: %s", file.name, error)
    return kept
