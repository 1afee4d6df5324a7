"""Runs a training in processes of its own, and starts one again that was lost.

TensorFlow can set up a cluster only before it computed anything, and not twice: the chief's training runs
beside the pipeline, a worker's beside its supervisor. When a process of the cluster is gone, the others end
with `LOST`; all are started again, wait for one another, and go on from the chief's last checkpoint.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json, write_json
from rmtl_tf.training.job import MENDABLE, TrainingJob
from rmtl_tf.training.strategy import MIRRORED, PARAMETER_SERVER, own_task

JOB_FILE = "training_job.json"
_PAUSE = 1.0

log = logging.getLogger(__name__)


def lead(job: TrainingJob, file: Path) -> None:
    """The chief's side: shows the job to the workers in `file`, and trains.

    Raises:
        UserError: this process is not the chief, or as the training.
    """
    strategy = job.training.strategy
    if strategy != MIRRORED and not (task := own_task(strategy)).is_chief:
        raise UserError(
            f"training.strategy: {strategy}: the pipeline runs on the chief, and TF_CONFIG says this is "
            f"{task.kind} {task.index}. Start it with: pipeline.py worker --config FILE."
        )
    write_json(file, job.model_dump(mode="json", by_alias=True))
    try:
        _repeat(file, job.training.restarts)
    except UserError:
        file.unlink(missing_ok=True)
        raise
    file.unlink()


def follow(strategy: str, file: Path) -> None:
    """The side of a worker or parameter server: waits for a job in `file`, and takes part until it is done.

    Raises:
        UserError: this process is the chief, or as the training.
    """
    task = own_task(strategy)
    if task.is_chief:
        raise UserError(
            f"TF_CONFIG says this is the chief ({task.kind} {task.index}), which runs the pipeline. Start it "
            "with: pipeline.py run --config FILE."
        )
    log.info("%s %d: waiting for %s", task.kind, task.index, file)
    if strategy == PARAMETER_SERVER:
        _serve(strategy, file)
        return
    while True:
        while not file.exists():
            time.sleep(_PAUSE)
        job = TrainingJob(**read_json(file))
        if _repeat(file, job.training.restarts):
            return
        log.info("%s %d: the chief ended; waiting for the next training", task.kind, task.index)


def _repeat(file: Path, restarts: int) -> bool:
    """Runs the job until it is done: True; or the chief took the file away: False.

    Raises:
        UserError: of the training; or it was lost more than `restarts` times.
    """
    for attempt in range(restarts + 1):
        if not file.exists():
            return False
        with tempfile.TemporaryDirectory() as folder:
            message = Path(folder) / "error"
            command = [sys.executable, "-m", "rmtl_tf.training.job", str(file), str(message)]
            code = _run(command)
            if code == 0:
                return True
            if code == MENDABLE and message.exists():
                raise UserError(message.read_text(encoding="utf-8"))
        if code == 1:
            raise RuntimeError("the training process ended with an error; its traceback is above")
        log.warning("the training process was lost (exit code %d); start %d", code, attempt + 2)
        time.sleep(_PAUSE)
    raise UserError(
        f"training.restarts: a process of the cluster was lost {restarts + 1} times. Look at the logs of all "
        "workers; the same command goes on from the last checkpoint."
    )


def _run(command: list[str]) -> int:
    child = subprocess.Popen(command)
    try:
        return child.wait()
    finally:
        child.kill()
        child.wait()


def _serve(strategy: str, file: Path) -> None:
    """Keeps a server up until a job came and went."""
    command = [sys.executable, "-m", "rmtl_tf.training.job", "--serve", strategy]
    child, seen = subprocess.Popen(command), False
    try:
        while not seen or file.exists():
            seen = seen or file.exists()
            if child.poll() is not None:
                log.warning("the server was lost (exit code %d); it is started again", child.returncode)
                child = subprocess.Popen(command)
            time.sleep(_PAUSE)
    finally:
        child.kill()
        child.wait()
