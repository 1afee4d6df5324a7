"""A worker's side: one JSON command a line on stdin, one JSON answer a line on stdout.

Every framework trains in a process of its own and answers "train n steps" with their seconds, so that one
run takes rounds of all of them in turn. Needs the standard library and numpy alone.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any, Protocol

import numpy as np

from benchmarks.train.setting import Setting


class Trainable(Protocol):
    """A model with its optimizer and batches, as a framework makes it."""

    def steps(self, count: int) -> float:
        """Trains on `count` batches and returns the seconds it took."""

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits [N, K] of ids [N, F], without dropout."""

    def loss(self, ids: np.ndarray, labels: np.ndarray) -> float:
        """What is minimised, of ids [N, F] and labels [N, K], without dropout."""

    def set_weights(self, **weights: np.ndarray) -> None:
        """Takes weights by the names of `benchmarks.train.weights`."""


class Framework(Protocol):
    """Makes models of a setting."""

    def make(self, setting: Setting) -> Trainable: ...

    def describe(self) -> dict[str, Any]:
        """Versions and numbers of threads."""


def serve(framework: Framework) -> None:
    """Answers commands until stdin ends; an error is an answer too: `{"error": traceback}`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    worker = _Served(framework)
    for line in sys.stdin:
        try:
            answer = {"result": worker.answer(json.loads(line))}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class _Served:
    def __init__(self, framework: Framework) -> None:
        self.framework, self.model = framework, None

    def answer(self, command: dict[str, Any]) -> Any:
        """Calls the method `do` of the framework, or else of the model, with `arguments` and the arrays of
        the file `arrays`; arrays that come back go to the file `to`."""
        arguments = command["arguments"]
        if command["do"] in ("make", "free"):
            self.model = None  # frees the memory of the one before first
            if command["do"] == "make":
                self.model = self.framework.make(Setting.from_json(arguments))
            return None
        owner = self.framework if hasattr(self.framework, command["do"]) else self.model
        if command["arrays"]:
            with np.load(command["arrays"]) as stored:
                arguments = {**arguments, **{name: stored[name] for name in stored.files}}
        result = getattr(owner, command["do"])(**arguments)
        if isinstance(result, np.ndarray):
            result = {"result": result}
        if command["to"]:
            return np.savez(command["to"], **result)
        return result
