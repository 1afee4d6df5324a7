"""One training from tables to files: all phases, what is kept of them, and their summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import yaml

from rmtl_tf.backbones import build_backbone
from rmtl_tf.config import BEST, ArmConfig, ModelConfig, TrainingConfig
from rmtl_tf.features.graph import Categorical, TransformGraph
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.files import digest_json, read_json, write_json
from rmtl_tf.training import tensorboard
from rmtl_tf.training.checkpoint import assign
from rmtl_tf.training.critics import Critics, RunCritic, needs_critic
from rmtl_tf.training.loop import Progress
from rmtl_tf.training.phases import Problem, Trainer, Weights, build
from rmtl_tf.weighting import settings_of

RUN_FILE = "run.json"
PRETRAINED = "pretrained"
_OMEGA_SAMPLE = 20_000


def make_deterministic(seed: int) -> None:
    """Same seed, same machine: same bits, from here on in this process."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def run_training(
    problem: Problem,
    graph: TransformGraph,
    item: str | None,
    model: ModelConfig,
    training: TrainingConfig,
    seed: int,
    directory: Path,
) -> None:
    """Trains all arms and writes into `directory`: `run.json` (summary), `weights/<arm>.weights.h5`,
    `critics/<name>/` (`rmtl_tf.rl.critic_io`), `omega.npz` (a sample of omega on train records, an array
    [n, K] per arm) and `tensorboard/`.

    A killed run goes on from `directory/.checkpoints`.
    """
    make_deterministic(seed)
    trainer = Trainer(problem, model, training, seed, directory / ".checkpoints", directory / "tensorboard")
    critics = Critics(trainer, graph, directory)
    summary = _Summary(problem, model, training, seed)
    frozen, progress = trainer.pretrain()
    summary.add_actor(PRETRAINED, None, progress)
    actors = {PRETRAINED: frozen.weights}
    omegas = {}
    incumbent = max(entry["auc"] for entry in progress.history)
    for arm in training.arms:
        used = critics.of(arm, frozen)
        if used is not None:
            summary.add_critic(arm.name, used)
        critic = None if used is None else used.critic
        actors[arm.name], progress, omega = trainer.finetune(frozen, arm, critic, incumbent)
        summary.add_actor(arm.name, arm, progress)
        summary.add_omega(arm.name, omega)
        omegas[arm.name] = omega[np.linspace(0, len(omega) - 1, min(len(omega), _OMEGA_SAMPLE)).astype(int)]
    export = summary.choose(training.export)
    _write_weights(trainer, actors, directory)
    np.savez_compressed(directory / "omega.npz", **omegas)
    summary.values["parameters"] = sum(int(w.size) for w in frozen.weights)
    write_json(directory / RUN_FILE, summary.values)
    logs = directory / "tensorboard"
    _write_overview(logs, summary, model, training)
    if item is not None:
        _write_items(logs, trainer, actors[export], graph, item)


def load_actor(directory: Path, arm: str, graph: TransformGraph) -> keras.layers.Layer:
    """The backbone of an arm as `run_training` left it in `directory`."""
    values = read_json(directory / RUN_FILE)
    spec = InputSpec.from_config(values["inputs"])
    backbone = build_backbone(ModelConfig(**values["config"]["model"]), spec, graph.tasks, seed=0)
    build(backbone, spec)
    _as_model(backbone).load_weights(weights_path(directory, arm))
    return backbone


def weights_path(directory: Path, arm: str) -> Path:
    return directory / "weights" / f"{arm}.weights.h5"


def _write_weights(trainer: Trainer, actors: dict[str, Weights], directory: Path) -> None:
    (directory / "weights").mkdir(exist_ok=True)
    backbone = trainer.backbone("A")
    model = _as_model(backbone)
    for name, weights in actors.items():
        assign(backbone.weights, weights)
        model.save_weights(weights_path(directory, name))


def _as_model(backbone: keras.layers.Layer) -> keras.Model:
    """A built layer as a model: only models have weight files."""
    model = keras.Sequential([backbone])
    model.built = True
    return model


class _Summary:
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

    def add_actor(self, name: str, arm: ArmConfig | None, progress: Progress) -> None:
        phase = "pretrain" if arm is None else "finetune"
        best = progress.history[max(progress.best_epoch - 1, 0)]
        kept = progress.best_epoch == 0
        if kept:  # no epoch beat the pretrained actor, whose numbers stand
            best = self.values["arms"][0]["validation"]
        metrics = {key: value for key, value in best.items() if key.partition("/")[0] in ("auc", "logloss")}
        self.values["arms"].append(
            {
                "name": name,
                "weighting": None if arm is None else settings_of(arm.weighting),
                "critic": None if arm is None else dict(arm.critic) or None,
                "best_epoch": progress.best_epoch,
                "validation": metrics,
                "validation_auc": {task: metrics[f"auc/{task}"] for task in self.names},
                "seconds": progress.seconds,
                "incumbent_kept": kept,
            }
        )
        self._history(phase, name, progress)

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
        self.values["critics"][arm] = {
            task: {
                key: used.metrics[f"{key}/{task}"] for key in ("correlation", "bias", "q_mean", "return_mean")
            }
            for task in self.names
        }
        if used.progress is not None:
            self._history("critic", arm, used.progress)

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
        self.values["history"] += [{"phase": phase, "arm": arm, **entry} for entry in progress.history]
        if progress.seconds:
            name = phase if phase == "pretrain" else f"{phase}-{arm}"
            self.values["samples_per_second"][name] = progress.records / progress.seconds


def _write_overview(logs: Path, summary: _Summary, model: ModelConfig, training: TrainingConfig) -> None:
    values = summary.values
    shared = {**_flat("model", model.model_dump()), **_flat("finetune", training.finetune.model_dump())}
    shared |= {"seed": str(values["seed"]), "batch_size": str(training.batch_size)}
    settings: dict[str, dict[str, str]] = {PRETRAINED: {}}
    overridden = {key for arm in training.arms for key in arm.critic}
    for arm in training.arms:
        weighting = arm.weighting.model_dump(mode="json", by_alias=True)
        if weighting["name"] == "constant":  # its other settings have no effect
            weighting = {"name": "constant"}
        critic = training.critic_of(arm).model_dump(include=overridden) if needs_critic(arm) else {}
        settings[arm.name] = {**_flat("weighting", weighting), **_flat("critic", critic)}
    arms = [
        {
            "name": entry["name"],
            "hparams": {**shared, **settings[entry["name"]]},
            "metrics": entry["validation"],
        }
        for entry in values["arms"]
    ]
    trial = digest_json({key: values[key] for key in ("config", "seed", "inputs", "records")})[:6]
    tensorboard.write_overview(logs, yaml.safe_dump(values["config"], sort_keys=False), arms, trial)


def _flat(group: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as text, as numbers would each get a range filter in HParams; what is not set is left out."""
    return {f"{group}/{key}": str(value) for key, value in settings.items() if value is not None}


def _write_items(logs: Path, trainer: Trainer, weights: Weights, graph: TransformGraph, item: str) -> None:
    backbone = trainer.backbone("A")
    if not hasattr(backbone, "embedding"):  # a backbone of the user's own
        return
    assign(backbone.weights, weights)
    vocabulary = next(f.vocabulary for f in graph.features if isinstance(f, Categorical) and f.name == item)
    table = np.array(backbone.embedding.table)[backbone.embedding.field_rows(item)]
    tensorboard.write_projector(logs, table[1:], ["(unknown)", *vocabulary])  # row 0 is padding
