"""Medians with their spread, goals, and the tables they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.document import table


@dataclass(frozen=True)
class Figure:
    """A median over rounds, and the smallest and largest round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float] | np.ndarray) -> Figure:
        values = np.asarray(rounds, float)
        return cls(float(np.median(values)), float(values.min()), float(values.max()))

    def show(self, digits: int = 2) -> str:
        """`median [low, high]`."""
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> Figure:
    """Of two series of the same rounds: a slow minute is in both."""
    return Figure.of(np.asarray(numerator) / np.asarray(denominator))


def milliseconds(seconds: np.ndarray) -> str:
    return f"{np.median(seconds) * 1e3:.1f}"


@dataclass(frozen=True)
class Goal:
    """A figure and what it should be.

    Attributes:
        least: the goal is a smallest value, else a largest one.
    """

    name: str
    figure: Figure
    goal: float
    least: bool = True

    @property
    def reached(self) -> bool:
        median = self.figure.median
        return median >= self.goal if self.least else median <= self.goal

    def row(self) -> tuple[str, str, str, str]:
        bound = f"{'at least' if self.least else 'at most'} {self.goal:g}"
        return self.name, bound, self.figure.show(), "yes" if self.reached else "no"


def goal_table(goals: Sequence[Goal]) -> str:
    return table(
        ("figure", "goal", "measured: median [smallest, largest round] ", "reached"), [g.row() for g in goals]
    )
