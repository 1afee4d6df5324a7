"""The one number candidates are ordered by: a formula over the tasks' probabilities, inside the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from rmtl_tf.errors import UserError, nearest

SCORE, ORDER = "score", "order"


@dataclass(frozen=True)
class ScoreFormula:
    """score = prod_k p_k ** w_k (`product`) or sum_k w_k p_k (`sum`).

    Attributes:
        weights: task -> w; a task that is not there has no part in the score.
        combine: which of the two.
    """

    weights: Mapping[str, float]
    combine: Literal["product", "sum"] = "product"

    @classmethod
    def of(
        cls, weights: Mapping[str, float], combine: Literal["product", "sum"], tasks: Sequence[str]
    ) -> ScoreFormula:
        """The formula of a configuration; no weights: 1 for every task.

        Raises:
            UserError: a weight names a task that is not there, or a task has the name of another output.
        """
        for task in weights:
            if task not in tasks:
                raise UserError(f"serving.score: no task {task!r}; {nearest(task, tasks)}")
        for name in (SCORE, ORDER):
            if name in tasks:
                raise UserError(
                    f"schema: a task cannot be named {name!r}, the name of another output. Rename it."
                )
        return cls(dict(weights) or dict.fromkeys(tasks, 1.0), combine)

    def __call__(self, probabilities: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Probabilities {task: [N]} -> score [N] float32."""
        parts = [(probabilities[task], tf.constant(w, tf.float32)) for task, w in self.weights.items()]
        if self.combine == "sum":
            return tf.add_n([p * w for p, w in parts])
        score = parts[0][0] ** parts[0][1]
        for p, w in parts[1:]:
            score *= p**w
        return score
