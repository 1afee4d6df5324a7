"""One training from tables to files: all phases, what is kept of them, and their summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import yaml

from rmtl_tf.backbones import build_backbone
from rmtl_tf.config import ArmConfig, ModelConfig, TrainingConfig
from rmtl_tf.features.graph import Categorical, TransformGraph
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.files import digest_json, read_json, write_json
from rmtl_tf.training import tensorboard
from rmtl_tf.training.arms import check_arms, train_arm
from rmtl_tf.training.checkpoint import assign
from rmtl_tf.training.cluster import Cluster
from rmtl_tf.training.critics import Critics, needs_critic
from rmtl_tf.training.memory import estimate
from rmtl_tf.training.memory_limit import check_memory
from rmtl_tf.training.networks import build
from rmtl_tf.training.phases import Trained, Trainer
from rmtl_tf.training.problem import Frozen, Problem, Weights
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
    logs, checkpoints = directory / "tensorboard", directory / ".checkpoints"
    trainer = Trainer(problem, model, training, seed, checkpoints, logs, cluster)
    needed = estimate(problem, model, training, warm=start is not None)
    summary = Summary(problem, model, training, seed)
    summary.values["records"]["train"] = int(sum(cluster.gather(np.array(len(problem.train.records)))))
    summary.values["memory"] = check_memory(needed, problem.spec, stop=training.memory == "stop")
    with cluster.scope():
        critics = Critics(trainer, graph, directory)
        frozen, progress = trainer.pretrain(start)
    summary.add_actor(PRETRAINED, None, progress)
    _write_weights(trainer, PRETRAINED, frozen.weights, directory)
    omegas: dict[str, Any] = {}
    incumbent = progress.best or 0.0
    for arm in training.arms:
        done = _train(trainer, critics, frozen, arm, incumbent, summary, directory)
        summary.add_actor(arm.name, arm, done.progress, done.power)
        if done.omega is not None:
            summary.add_omega(arm.name, done.omega)
            omegas[arm.name] = _sample(done.omega)
    export = summary.choose(training.export)
    if cluster.is_chief:
        np.savez_compressed(directory / "omega.npz", **omegas)
        summary.values["parameters"] = sum(int(w.size) for w in frozen.weights)
        write_json(directory / RUN_FILE, summary.values)
        _write_overview(logs, summary, model, training)
        if item is not None:
            _write_items(logs, load_actor(directory, export, graph), graph, item)
    cluster.gather(np.zeros(1))  # nobody leaves before everything is written


def _train(
    trainer: Trainer,
    critics: Critics,
    frozen: Frozen,
    arm: ArmConfig,
    incumbent: float,
    summary: Summary,
    directory: Path,
) -> Trained:
    """Trains an arm and writes its weights, which are not kept: those of all arms may not fit."""
    with trainer.cluster.scope():
        used = critics.of(arm, frozen)
        done = train_arm(trainer, frozen, arm, None if used is None else used.critic, incumbent)
    if used is not None:
        summary.add_critic(arm.name, used)
    _write_weights(trainer, arm.name, done.weights, directory)
    critics.forget(arm)
    return replace(done, weights=[])


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


def _write_weights(trainer: Trainer, name: str, weights: Weights, directory: Path) -> None:
    if not trainer.cluster.is_chief:
        return
    (directory / "weights").mkdir(parents=True, exist_ok=True)
    backbone = trainer.backbone("A")
    assign(backbone.weights, weights)
    _as_model(backbone).save_weights(weights_path(directory, name))


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


def _write_items(logs: Path, backbone: keras.layers.Layer, graph: TransformGraph, item: str) -> None:
    if not hasattr(backbone, "embedding"):  # a backbone of the user's own
        return
    feature = next(f for f in graph.features if isinstance(f, Categorical) and f.name == item)
    shown = ["(unknown)", *feature.vocabulary, *(f"(bucket {number})" for number in range(feature.buckets))]
    vectors = backbone.embedding.vectors(item)
    tensorboard.write_projector(logs, vectors[1:], shown)  # row 0 is padding
