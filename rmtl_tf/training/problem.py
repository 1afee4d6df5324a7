"""What is trained on, and the frozen actor that all arms start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rmtl_tf.features.spec import InputSpec
from rmtl_tf.inputs import RecordTable
from rmtl_tf.schema import Task
from rmtl_tf.training.parts import Parts

Weights = list[np.ndarray]


@dataclass(frozen=True)
class Problem:
    """What is trained on: the inputs, the tasks, and two tables.

    Attributes:
        train: of several processes each has its own parts of it.
        parts: of the train table; None: it is one.
    """

    spec: InputSpec
    tasks: tuple[Task, ...]
    train: RecordTable
    validation: RecordTable
    parts: Parts | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)


@dataclass(frozen=True)
class Frozen:
    """The frozen actor: its weights, and its logits [R, K] without dropout on both tables."""

    weights: Weights
    train: np.ndarray
    validation: np.ndarray
