"""The worker that trains in this package, through its public interfaces."""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from benchmarks.speed import Size, make_agent, make_backbone
from benchmarks.train.serve import serve
from benchmarks.train.setting import Setting
from benchmarks.train.weights import named_weights
from rmtl_tf.config import CriticConfig, ModelConfig
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.mdp import cross_entropy
from rmtl_tf.schema import Task


def size_of(setting: Setting) -> Size:
    """`setting` as the benchmarks of this package describe it."""
    values = setting.to_json()
    model = {key: value for key, value in values.items() if key in ModelConfig.model_fields}
    return Size(
        fields=setting.fields,
        rows=setting.rows,
        batch=setting.batch,
        model=ModelConfig(**model, embedding_dim=setting.width),
        critic=CriticConfig(bottom=setting.bottom, tower=setting.tower),
        tasks=tasks_of(setting),
    )


def tasks_of(setting: Setting) -> tuple[Task, ...]:
    names = [f"task_{k}" for k in range(setting.tasks)]
    return tuple(
        Task(name, parent=None if parent < 0 else names[parent])
        for name, parent in zip(names, setting.parents, strict=True)
    )


def agent_of(setting: Setting) -> Agent:
    """A compiled agent of this setting."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(setting.dtype)
    try:
        size = size_of(setting)
        return make_agent(size, make_backbone(size, setting.backbone), setting.weighting)
    finally:
        keras.config.set_dtype_policy(before)


class OurModel:
    """An agent with its compiled step and its batches."""

    def __init__(self, setting: Setting) -> None:
        self.agent = agent_of(setting)
        self.names = [name for name, _ in size_of(setting).spec.categorical]
        extras = size_of(setting).records(setting.seed)
        self.batches = []
        for ids, labels in zip(*setting.records(), strict=True):
            batch = {"features": self.features(ids), "labels": tf.constant(labels)}
            self.batches.append({**extras, **batch})
        self.step = tf.function(self.agent.train_step, jit_compile=False)
        self.done = 0

    def features(self, ids: np.ndarray) -> dict[str, tf.Tensor]:
        columns = ids.astype(np.int32).T
        return {name: tf.constant(column) for name, column in zip(self.names, columns, strict=True)}

    def steps(self, count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            logs = self.step(self.batches[self.done % len(self.batches)])
            self.done += 1
        float(logs["loss"])  # waits
        return time.perf_counter() - began

    def logits(self, ids: np.ndarray) -> np.ndarray:
        return self.agent(self.features(ids), training=False).numpy()

    def loss(self, ids: np.ndarray, labels: np.ndarray) -> float:
        features, labels, backbone = self.features(ids), tf.constant(labels), self.agent.backbone
        if not hasattr(backbone, "logits_and_loss"):
            return float(tf.reduce_mean(cross_entropy(labels, backbone(features, training=False))))
        mask = tf.ones(len(ids))
        logits, own = backbone.logits_and_loss(features, labels, mask, training=False)
        return float(tf.reduce_mean(cross_entropy(labels, logits)) + own)

    def weights(self, spread: float) -> dict[str, np.ndarray]:
        """Draws new weights, biases included, and returns them by name."""
        random = np.random.default_rng(0)
        for variable in self.agent.backbone.weights:
            variable.assign(random.normal(scale=spread, size=variable.shape))
        return named_weights(self.agent.backbone)


class Ours:
    def make(self, setting: Setting) -> OurModel:
        return OurModel(setting)

    def describe(self) -> dict[str, Any]:
        threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()
        return {"version": f"TensorFlow {tf.__version__}, Keras {keras.__version__}", "threads": threads}


if __name__ == "__main__":
    serve(Ours())
