"""One training from tables to files: all phases, what is kept of them, and their summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import yaml

from rmtl_tf.backbones import build_backbone
from rmtl_tf.config import ModelConfig, TrainingConfig
from rmtl_tf.features.graph import Categorical, TransformGraph
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.files import digest_json, read_json, write_json
from rmtl_tf.training import tensorboard
from rmtl_tf.training.arms import check_arms, train_arm
from rmtl_tf.training.checkpoint import assign
from rmtl_tf.training.cluster import Cluster
from rmtl_tf.training.critics import Critics, needs_critic
from rmtl_tf.training.networks import build
from rmtl_tf.training.phases import Trainer
from rmtl_tf.training.problem import Problem, Weights
from rmtl_tf.training.summary import PRETRAINED, Summary

RUN_FILE = "run.json"
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
    start: Weights | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Trains all arms and writes into `directory`: `run.json` (summary), `weights/<arm>.weights.h5`,
    `critics/<name>/` (`rmtl_tf.rl.critic_io`), `omega.npz` (a sample of omega on train records, an array
    [n, K] per arm) and `tensorboard/`.

    `start`: weights for phase A to begin with (`rmtl_tf.training.warm_start`), in the backbone's order.

    `cluster`: what computes the batches; None: this process. Its chief alone writes.

    A killed run goes on from `directory/.checkpoints`.
    """
    cluster = cluster or Cluster()
    make_deterministic(seed)
    check_arms(training, problem.names)
    summary = Summary(problem, model, training, seed)
    summary.values["records"]["train"] = int(sum(cluster.gather(np.array(len(problem.train.records)))))
    trainer = Trainer(
        problem, model, training, seed, directory / ".checkpoints", directory / "tensorboard", cluster
    )
    with cluster.scope():
        actors, omegas = _train(trainer, Critics(trainer, graph, directory), summary, start)
    if cluster.is_chief:
        _write(trainer, summary, actors, omegas, graph, item, directory)
    cluster.gather(np.zeros(1))  # nobody leaves before everything is written


def _train(
    trainer: Trainer, critics: Critics, summary: Summary, start: Weights | None
) -> tuple[dict[str, Weights], dict[str, Any]]:
    """Every arm's weights and its sample of omega."""
    training = trainer.training
    frozen, progress = trainer.pretrain(start)
    summary.add_actor(PRETRAINED, None, progress)
    actors = {PRETRAINED: frozen.weights}
    omegas: dict[str, Any] = {}
    incumbent = progress.best or 0.0
    for arm in training.arms:
        used = critics.of(arm, frozen)
        if used is not None:
            summary.add_critic(arm.name, used)
        done = train_arm(trainer, frozen, arm, None if used is None else used.critic, incumbent)
        actors[arm.name] = done.weights
        summary.add_actor(arm.name, arm, done.progress, done.power)
        if done.omega is not None:
            summary.add_omega(arm.name, done.omega)
            omegas[arm.name] = _sample(done.omega)
    return actors, omegas


def _write(
    trainer: Trainer,
    summary: Summary,
    actors: dict[str, Weights],
    omegas: dict[str, Any],
    graph: TransformGraph,
    item: str | None,
    directory: Path,
) -> None:
    model, training = trainer.model, trainer.training
    export = summary.choose(training.export)
    _write_weights(trainer, actors, directory)
    np.savez_compressed(directory / "omega.npz", **omegas)
    summary.values["parameters"] = sum(int(w.size) for w in actors[PRETRAINED])
    write_json(directory / RUN_FILE, summary.values)
    logs = directory / "tensorboard"
    _write_overview(logs, summary, model, training)
    if item is not None:
        _write_items(logs, trainer, actors[export], graph, item)


def _sample(omega: np.ndarray) -> np.ndarray:
    """About `_OMEGA_SAMPLE` rows of omega [n, K], evenly spread."""
    return omega[np.linspace(0, len(omega) - 1, min(len(omega), _OMEGA_SAMPLE)).astype(int)]


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


def _write_overview(logs: Path, summary: Summary, model: ModelConfig, training: TrainingConfig) -> None:
    values = summary.values
    shared = {**_flat("model", model.model_dump()), **_flat("finetune", training.finetune.model_dump())}
    shared |= {"seed": str(values["seed"]), "batch_size": str(training.batch_size)}
    settings: dict[str, dict[str, str]] = {PRETRAINED: {}}
    overridden = {key for arm in training.arms for key in arm.critic}
    for arm in training.arms:
        agent = arm.agent.model_dump(mode="json")
        weighting = arm.weighting.model_dump(mode="json", by_alias=True)
        if weighting["name"] == "constant":  # its other settings have no effect
            weighting = {"name": "constant"}
        reads = needs_critic(arm) or arm.agent.name != "rmtl"
        critic = training.critic_of(arm).model_dump(include=overridden) if reads else {}
        settings[arm.name] = _flat("critic", critic) | _flat("agent", agent)
        if arm.agent.WEIGHS:
            settings[arm.name] |= _flat("weighting", weighting)
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
