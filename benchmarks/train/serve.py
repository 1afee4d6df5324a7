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

    def set_weights(self, weights: dict[str, np.ndarray]) -> None:
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
    model: Any = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "make":
                model = None  # frees the one before first
                model = framework.make(Setting.from_json(command["setting"]))
                result: Any = None
            elif command["do"] == "describe":
                result = framework.describe()
            else:
                result = _answer(model, command)
        except Exception:
            answers.write(json.dumps({"error": traceback.format_exc()}) + "\n")
        else:
            answers.write(json.dumps({"result": result}) + "\n")
        answers.flush()


def _answer(model: Any, command: dict[str, Any]) -> Any:
    if command["do"] == "steps":
        return model.steps(command["count"])
    if command["do"] == "free":
        model.__dict__.clear()
        return None
    if command["do"] == "weights":
        return np.savez(command["path"], **model.weights(command["spread"]))
    with np.load(command["path"]) as stored:
        arrays = {name: stored[name] for name in stored.files}
    if command["do"] == "set_weights":
        return model.set_weights(arrays)
    if command["do"] == "logits":
        return np.asarray(model.logits(arrays["ids"])).tolist()
    if command["do"] == "loss":
        return model.loss(arrays["ids"], arrays["labels"])
    raise ValueError(f"unknown command {command['do']!r}")
