"""The power of a weighting, chosen for each task by validation AUC. Test data choose nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PowerChoice:
    """Which power each task got, and why.

    Attributes:
        chosen: task -> power.
        candidates: power -> task -> validation AUC of the arm fine-tuned with this power for all tasks.
    """

    chosen: dict[str, float]
    candidates: dict[float, dict[str, float]]


def choose_powers(
    candidates: Sequence[float], tasks: Sequence[str], validate: Callable[[float], Mapping[str, float]]
) -> PowerChoice:
    """For each task the candidate with its best validation AUC; of equals the nearest to 0, then the first.

    Args:
        validate: fine-tunes with one power for all tasks; returns task -> validation AUC.
    """
    found = {power: dict(validate(power)) for power in dict.fromkeys(candidates)}
    chosen = {task: max(found, key=lambda power: (found[power][task], -abs(power))) for task in tasks}
    return PowerChoice(chosen, found)
