"""A worker's client: models of several frameworks, each in its own process, timed in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.train.setting import Setting

ROOT = Path(__file__).resolve().parents[2]
TORCH_PYTHON = ROOT / ".venv-torch" / "bin" / "python"
MODULES = {
    "ours": "benchmarks.train.ours",
    "torch": "benchmarks.train.torch_peer",
    "keras": "benchmarks.train.keras_peer",
    "tfrs": "benchmarks.train.tfrs_peer",
}


class Worker:
    """One framework's process; it holds one model at a time.

    Args:
        name: in `MODULES`.

    Raises:
        RuntimeError: by any method: the worker failed; with its traceback.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        python = str(TORCH_PYTHON) if name == "torch" else sys.executable
        self._process = subprocess.Popen(
            [python, "-m", MODULES[name]],
            cwd=ROOT,
            env=environment(name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def make(self, setting: Setting) -> None:
        """Makes a model, in place of the one before."""
        self._ask("make", setting=setting.to_json())

    def steps(self, count: int = 1) -> float:
        """Seconds of `count` training steps."""
        return self._ask("steps", count=count)

    def free(self) -> None:
        """Lets go of the model and its memory."""
        self._ask("free")

    def describe(self) -> dict[str, Any]:
        return self._ask("describe")

    def logits(self, ids: np.ndarray) -> np.ndarray:
        return np.array(self._send("logits", {"ids": ids}), np.float32)

    def loss(self, ids: np.ndarray, labels: np.ndarray) -> float:
        return self._send("loss", {"ids": ids, "labels": labels})

    def weights(self, spread: float) -> dict[str, np.ndarray]:
        """Of ours: draws new weights with this standard deviation and returns them by name."""
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            self._ask("weights", path=file.name, spread=spread)
            with np.load(file.name) as stored:
                return {name: stored[name] for name in stored.files}

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._send("set_weights", weights)

    def _send(self, what: str, arrays: Mapping[str, np.ndarray]) -> Any:
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file, **arrays)
            file.flush()
            return self._ask(what, path=file.name)

    def _ask(self, what: str, **arguments: Any) -> Any:
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        try:
            pipes[0].write(json.dumps({"do": what, **arguments}) + "\n")
            pipes[0].flush()
            line = pipes[1].readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"worker {self.name}: ended at {what!r}; its output is above")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"worker {self.name}, {what!r}:\n{answer['error']}")
        return answer["result"]


def environment(name: str) -> dict[str, str]:
    """A worker's environment: ours, and what its framework asks for."""
    own = {"tfrs": {"TF_USE_LEGACY_KERAS": "1"}}
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **own.get(name, {})}


def in_turns(workers: Sequence[Worker], rounds: int, count: int = 1, warm: int = 2) -> dict[str, np.ndarray]:
    """Seconds of a step [rounds] by worker. Every round asks each in turn, so that a slow minute slows all.

    Args:
        count: steps of a worker in a round.
        warm: steps before the first round: the first traces.
    """
    for worker in workers:
        worker.steps(warm)
    seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            seconds[worker.name].append(worker.steps(count) / count)
    return {name: np.array(values) for name, values in seconds.items()}
