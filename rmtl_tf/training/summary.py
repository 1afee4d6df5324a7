"""What a training writes into `run.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from rmtl_tf.config import BEST, ArmConfig, ModelConfig, TrainingConfig
from rmtl_tf.training.critics import RunCritic
from rmtl_tf.training.loop import Progress
from rmtl_tf.training.power import PowerChoice
from rmtl_tf.training.problem import Problem
from rmtl_tf.weighting import settings_of

PRETRAINED = "pretrained"
_CRITIC = "critic/"
_OF_VALUES = ("correlation", "bias", "q_mean", "return_mean")


class Summary:
    """Collects `run.json`."""

    def __init__(self, problem: Problem, model: ModelConfig, training: TrainingConfig, seed: int) -> None:
        self.names = problem.names
        self.values: dict[str, Any] = {
            "tasks": list(problem.names),
            "export": None,
            "seed": seed,
            "arms": [],
            "history": [],
            "omega": {},
            "critics": {},
            "critic_folders": {},
            "samples_per_second": {},
            "config": {
                "model": model.model_dump(mode="json"),
                "training": training.model_dump(mode="json", by_alias=True),
            },
            "inputs": asdict(problem.spec),
            "records": {"train": len(problem.train.records), "validation": len(problem.validation.records)},
        }

    def add_actor(
        self, name: str, arm: ArmConfig | None, progress: Progress, power: PowerChoice | None = None
    ) -> None:
        """An arm and how it was trained; `arm` is None for the pretrained actor. Where its agent learnt a
        critic of its own, that is added too, as it was at the arm's best epoch, or at the end."""
        best = progress.history[max(progress.best_epoch - 1, 0)]
        kept = progress.best_epoch == 0
        if kept:  # no epoch beat what it started from, whose numbers stand
            best = (self.values["arms"][0]["validation"] if arm is not None else progress.start) or {}
        metrics = {key: value for key, value in best.items() if key.partition("/")[0] in ("auc", "logloss")}
        self.values["arms"].append(
            {
                "name": name,
                "agent": None if arm is None else arm.agent.model_dump(mode="json"),
                "weighting": settings_of(arm.weighting) if arm is not None and arm.agent.WEIGHS else None,
                "power": None if power is None else _power(power),
                "critic": None if arm is None else dict(arm.critic) or None,
                "best_epoch": progress.best_epoch,
                "validation": metrics,
                "validation_auc": {task: metrics[f"auc/{task}"] for task in self.names},
                "seconds": progress.seconds,
                "incumbent_kept": kept and arm is not None,
            }
        )
        self._history(_phase(arm), name, progress)
        own = progress.history[progress.best_epoch - 1]
        if f"{_CRITIC}fit" in own:
            self._values(name, {key.removeprefix(_CRITIC): value for key, value in own.items()})

    def choose(self, export: str) -> str:
        """The arm to export: as configured, or the highest validation mean AUC; the first of equals.

        The control stands first, so a weighting must beat it. The pretrained actor is no candidate: an arm
        that never beat it has its weights.
        """
        if export == BEST:
            arms = [entry for entry in self.values["arms"] if entry["name"] != PRETRAINED]
            export = max(arms, key=lambda entry: entry["validation"]["auc"])["name"]
        self.values["export"] = export
        return export

    def add_critic(self, arm: str, used: RunCritic) -> None:
        self.values["critic_folders"][arm] = used.name
        self._values(arm, used.metrics)
        if used.progress is not None:
            self._history("critic", arm, used.progress)

    def _values(self, arm: str, metrics: Mapping[str, float]) -> None:
        self.values["critics"][arm] = {
            task: {key: metrics[f"{key}/{task}"] for key in _OF_VALUES} for task in self.names
        }

    def add_omega(self, arm: str, omega: np.ndarray) -> None:
        self.values["omega"][arm] = {
            task: {
                "mean": float(column.mean()),
                "std": float(column.std()),
                "max": float(column.max()),
                "p50": float(np.quantile(column, 0.5)),
                "p99": float(np.quantile(column, 0.99)),
            }
            for task, column in zip(self.names, omega.astype(np.float64).T, strict=True)
        }

    def _history(self, phase: str, arm: str, progress: Progress) -> None:
        for entry in progress.history:
            own: dict[str, float] = {}
            critic: dict[str, float] = {}
            for key, value in entry.items():
                (critic if key.startswith(_CRITIC) else own)[key.removeprefix(_CRITIC)] = value
            self.values["history"].append({"phase": phase, "arm": arm, **own})
            if critic:
                place = {"phase": "critic", "arm": arm, "epoch": entry["epoch"]}
                self.values["history"].append({**place, **critic})
        if progress.seconds:
            name = phase if phase == "pretrain" else f"{phase}-{arm}"
            self.values["samples_per_second"][name] = progress.records / progress.seconds


def _phase(arm: ArmConfig | None) -> str:
    """Where an arm's epochs belong: its name in the history."""
    if arm is None:
        return "pretrain"
    return "finetune" if arm.agent.start == "pretrained" else "scratch"


def _power(power: PowerChoice) -> dict[str, Any]:
    """For JSON, whose keys are text."""
    return {
        "chosen": power.chosen,
        "candidates": {f"{candidate:g}": aucs for candidate, aucs in power.candidates.items()},
    }
