"""A worker's client: models of several frameworks, each in its own process, timed in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
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
        framework: in `MODULES`.
        name: where two workers are of one framework; else the framework's.

    Raises:
        RuntimeError: by any method: the worker failed; with its traceback.
    """

    def __init__(self, framework: str, name: str = "") -> None:
        self.name = name or framework
        python = str(TORCH_PYTHON) if framework == "torch" else sys.executable
        self._process = subprocess.Popen(
            [python, "-m", MODULES[framework]],
            cwd=ROOT,
            env=environment(framework),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def make(self, setting: Setting) -> None:
        """Makes a model, in place of the one before."""
        self.ask("make", **setting.to_json())

    def free(self) -> None:
        """Lets go of the model and its memory."""
        self.ask("free")

    def steps(self, count: int = 1) -> float:
        """Seconds of `count` training steps."""
        return self.ask("steps", count=count)

    def describe(self) -> dict[str, Any]:
        return self.ask("describe")

    def logits(self, ids: np.ndarray) -> np.ndarray:
        return self.ask_arrays("logits", {"ids": ids})["result"]

    def loss(self, ids: np.ndarray, labels: np.ndarray) -> float:
        return self.ask("loss", {"ids": ids, "labels": labels})

    def weights(self, spread: float) -> dict[str, np.ndarray]:
        """Of ours: draws new weights with this standard deviation and returns them by name."""
        return self.ask_arrays("weights", {}, spread=spread)

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.ask("set_weights", weights)

    def ask_arrays(self, what: str, arrays: Mapping[str, np.ndarray], **arguments: Any) -> dict[str, Any]:
        """As `ask`, of a method that returns arrays."""
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            self.ask(what, arrays, file.name, **arguments)
            with np.load(file.name) as stored:
                return {name: stored[name] for name in stored.files}

    def ask(
        self,
        what: str,
        arrays: Mapping[str, np.ndarray] | None = None,
        to: str | None = None,
        **arguments: Any,
    ) -> Any:
        """Calls a method of the worker's framework or model, and waits for its answer."""
        command = {"do": what, "arguments": arguments, "arrays": None, "to": to}
        if not arrays:
            return self._answer(command)
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file, **arrays)
            file.flush()
            return self._answer({**command, "arrays": file.name})

    def _answer(self, command: dict[str, Any]) -> Any:
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        try:
            to.write(json.dumps(command) + "\n")
            to.flush()
            line = back.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"worker {self.name}: ended at {command['do']!r}; its output is above")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"worker {self.name}, {command['do']!r}:\n{answer['error']}")
        return answer["result"]


def environment(framework: str) -> dict[str, str]:
    """A worker's environment: ours, and what its framework asks for."""
    own = {"tfrs": {"TF_USE_LEGACY_KERAS": "1"}}
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **own.get(framework, {})}


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
