"""The worker that trains in this package, through its public interfaces, as deterministic as its runs are."""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from benchmarks.flops import matmul_flops, signature_of
from benchmarks.speed import make_agent, make_backbone
from benchmarks.train.problem import size_of, table_of, train_phases
from benchmarks.train.serve import serve
from benchmarks.train.setting import Setting
from benchmarks.train.weights import named_weights
from rmtl_tf.inputs import Batcher, epoch_plan
from rmtl_tf.rl.agent import ENCODED, Agent
from rmtl_tf.rl.mdp import cross_entropy
from rmtl_tf.training.run import make_deterministic

_TRAINING = 3  # FLOPs of forward and backward, of which the backward has two products for each of the forward


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
        self.setting = setting
        self.agent = agent_of(setting)
        self.names = [name for name, _ in size_of(setting).spec.categorical]
        ids, labels = setting.records()
        table = table_of(setting, ids, labels)
        self.batcher, self.plan = Batcher(table), epoch_plan(table, setting.batch, setting.seed)
        extras = size_of(setting).records(setting.seed)  # what weightings read
        self.batches = [
            {**extras, "features": self.features(x), "labels": tf.constant(y)}
            for x, y in zip(ids, labels, strict=True)
        ]
        critic = self.agent._critic()
        if critic is not None:  # as `Trainer.finetune` makes it before its first step
            encode = tf.function(lambda features: critic.encode(features))
            self.batches = [{**batch, ENCODED: encode(batch["features"])} for batch in self.batches]
        self.step = tf.function(self.agent.train_step, jit_compile=False)
        self.done = 0

    def features(self, ids: np.ndarray) -> dict[str, tf.Tensor]:
        columns = ids.astype(np.int32).T
        return {name: tf.constant(column) for name, column in zip(self.names, columns, strict=True)}

    def steps(self, count: int) -> float:
        return self._fit(count) if self.setting.loop == "fit" else self._step(count)

    def _step(self, count: int) -> float:
        """The compiled step alone, on batches that are there."""
        began = time.perf_counter()
        for _ in range(count):
            logs = self.step(self.batches[self.done % len(self.batches)])
            self.done += 1
        float(logs["loss"])  # waits
        return time.perf_counter() - began

    def _fit(self, count: int) -> float:
        """One `fit` with its input, its start and end included."""
        began = time.perf_counter()
        self.agent.fit(self.batcher.batches(self._plan(count)), shuffle=False, verbose=0)
        return time.perf_counter() - began

    def _plan(self, count: int) -> np.ndarray:
        return self.plan[np.arange(count) % len(self.plan)]

    def input(self, count: int) -> float:
        """Seconds of making `count` batches that nobody reads."""
        began = time.perf_counter()
        for _ in self.batcher.batches(self._plan(count)):
            pass
        return time.perf_counter() - began

    def flops(self) -> int:
        """Of the matrix products of one training step."""
        backbone = self.agent.backbone
        inputs = signature_of(self.batches[0]["features"])
        return _TRAINING * matmul_flops(lambda x: backbone(x, training=False), inputs)

    def logits(self, ids: np.ndarray) -> np.ndarray:
        return self.agent(self.features(ids), training=False).numpy()

    def loss(self, ids: np.ndarray, labels: np.ndarray) -> float:
        features, labels, backbone = self.features(ids), tf.constant(labels), self.agent.backbone
        if not hasattr(backbone, "logits_and_loss"):
            return float(tf.reduce_mean(cross_entropy(labels, backbone(features, training=False))))
        logits, own = backbone.logits_and_loss(features, labels, tf.ones(len(ids)), training=False)
        return float(tf.reduce_mean(cross_entropy(labels, logits)) + own)

    def weights(self, spread: float) -> dict[str, np.ndarray]:
        """Draws new weights, biases included, and returns them by name."""
        random = np.random.default_rng(0)
        for variable in self.agent.backbone.weights:
            variable.assign(random.normal(scale=spread, size=variable.shape))
        return named_weights(self.agent.backbone)


class Ours:
    def __init__(self) -> None:
        make_deterministic(0)
        self._products: dict[tuple[str, int], Any] = {}

    def make(self, setting: Setting) -> OurModel:
        return OurModel(setting)

    def describe(self) -> dict[str, Any]:
        threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()
        return {"version": f"TensorFlow {tf.__version__}, Keras {keras.__version__}", "threads": threads}

    def peak(self, dtype: str, size: int) -> float:
        """FLOP/s of the product of two square matrices, the machine's limit for this type."""
        if (dtype, size) not in self._products:
            a, b = (tf.cast(tf.random.normal((size, size), seed=i), dtype) for i in range(2))
            product = tf.function(lambda a, b: tf.reduce_sum(tf.matmul(a, b)[:1]))
            product(a, b)
            self._products[dtype, size] = lambda: product(a, b)
        began = time.perf_counter()
        float(self._products[dtype, size]())
        return 2 * size**3 / (time.perf_counter() - began)

    def train(self, setting: dict[str, Any], batches: int, epochs: int) -> dict[str, float]:
        return train_phases(Setting.from_json(setting), batches, epochs)


if __name__ == "__main__":
    serve(Ours())
