"""What validation sessions say: of an actor its AUC and Logloss, of a critic its error against the return."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rmtl_tf.inputs import RecordTable
from rmtl_tf.metrics import auc
from rmtl_tf.rl.mdp import cross_entropy, discounted_returns
from rmtl_tf.training import tensorboard


class CriticReport:
    """A critic against the Monte-Carlo return of its actor (METHOD 8).

    Args:
        table: validation sessions.
        names: of the K tasks.
        gamma: discount.
        answers: the actor's logits and Q of its actions now, both [R, K].

    Attributes:
        logits: of the actor, as last asked for.
    """

    def __init__(
        self,
        table: RecordTable,
        names: Sequence[str],
        gamma: float,
        answers: Callable[[], tuple[np.ndarray, np.ndarray]],
    ) -> None:
        self.table, self.names, self.gamma, self.answers = table, tuple(names), gamma, answers
        self.logits = self._q = self._returns = np.empty((0, len(self.names)))

    def metrics(self) -> dict[str, float]:
        """`fit` (negative mean squared error, higher is better), and for every task `correlation/<task>`,
        `bias/<task>` (mean of Q - return), `q_mean/<task>`, `return_mean/<task>`."""
        logits, q = self.answers()
        records = self.table.records
        q, returns = q[records], returns_of(self.table, logits, self.gamma)[records]
        self.logits, self._q, self._returns = logits, q, returns
        result = {"fit": -float(np.mean((q - returns) ** 2))}
        for k, task in enumerate(self.names):
            result[f"correlation/{task}"] = correlation(q[:, k], returns[:, k])
            result[f"bias/{task}"] = float(np.mean(q[:, k] - returns[:, k]))
            result[f"q_mean/{task}"] = float(q[:, k].mean())
            result[f"return_mean/{task}"] = float(returns[:, k].mean())
        return result

    def plot(self, epoch: int) -> None:
        """Draws Q against the return, as last asked for, into the writer that is open."""
        tensorboard.write_value_plot(self._q, self._returns, self.names, epoch)


def returns_of(table: RecordTable, logits: np.ndarray, gamma: float) -> np.ndarray:
    """Monte-Carlo returns [R, K] of an actor with these logits [R, K] (METHOD 8)."""
    reward = -cross_entropy(table.labels, logits).numpy()
    return discounted_returns(reward, table.done, table.lookahead, gamma)


def validation_metrics(table: RecordTable, logits: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """`auc` (mean over tasks), `auc/<task>`, `logloss/<task>` on the real records of a table."""
    records = table.records
    labels, logits = table.labels[records], logits[records]
    losses = cross_entropy(labels, logits).numpy()
    result = {}
    for k, name in enumerate(names):
        result[f"auc/{name}"] = float(auc(labels[:, k], logits[:, k]))
        result[f"logloss/{name}"] = float(losses[:, k].mean(dtype=np.float64))
    return {"auc": float(np.mean([result[f"auc/{name}"] for name in names])), **result}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; 0 where one side is constant."""
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
