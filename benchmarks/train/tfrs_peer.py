"""The worker that trains a TFRS multi-task model: `tfrs.Model` with a `Ranking` task for each task.

TFRS needs Keras 2 (`TF_USE_LEGACY_KERAS=1`, which `worker.environment` sets), so `tf.keras` is that here.
Batches are made once and cached, as in its tutorials.
"""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from benchmarks.train.functional import PROBABILITIES, Functional, columns, logits_of, set_weights
from benchmarks.train.serve import serve
from benchmarks.train.setting import LEARNING_RATE, Setting


class Multitask(tfrs.models.Model):
    """{field_i: [N]} -> {task_k: [N, 1]}; the loss is the sum of the tasks'."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.network = Functional(tf.keras, setting).model()
        loss = tf.keras.losses.BinaryCrossentropy(from_logits=setting.backbone not in PROBABILITIES)
        self.rankings = {f"task_{k}": tfrs.tasks.Ranking(loss=loss) for k in range(setting.tasks)}

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        return self.network(features, training=training)

    def compute_loss(self, inputs: Any, training: bool = False) -> tf.Tensor:
        features, labels = inputs
        outputs = self(features, training=training)
        return tf.add_n(
            [task(labels=labels[name], predictions=outputs[name]) for name, task in self.rankings.items()]
        )


class TFRSModel:
    """A compiled model and its cached batches."""

    def __init__(self, setting: Setting) -> None:
        tf.keras.utils.set_random_seed(setting.seed)
        self.setting = setting
        self.model = Multitask(setting)
        self.model.compile(optimizer=tf.keras.optimizers.Adam(LEARNING_RATE))
        records = tf.data.Dataset.from_tensor_slices(columns(setting, *setting.records()))
        self.batches = records.batch(setting.batch).cache()
        for _ in self.batches:  # fills the cache
            pass

    def steps(self, count: int) -> float:
        """Of one `fit`, its start and end included."""
        if count > self.setting.batches:
            raise ValueError(f"expected at most {self.setting.batches} steps a round, received {count}")
        began = time.perf_counter()
        self.model.fit(self.batches, steps_per_epoch=count, verbose=0)
        return time.perf_counter() - began

    def logits(self, ids: np.ndarray) -> np.ndarray:
        x, _ = columns(self.setting, ids, np.zeros((len(ids), self.setting.tasks)))
        return logits_of(self.setting, self.model(x, training=False))

    def loss(self, ids: np.ndarray, labels: np.ndarray) -> float:
        total = self.model.compute_loss(columns(self.setting, ids, labels), training=False)
        return float(total) / self.setting.tasks

    def set_weights(self, **weights: np.ndarray) -> None:
        set_weights(self.model.network, weights)


class TFRS:
    def make(self, setting: Setting) -> TFRSModel:
        return TFRSModel(setting)

    def describe(self) -> dict[str, Any]:
        threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()
        return {"version": f"TFRS {tfrs.__version__}, Keras {tf_keras.__version__}", "threads": threads}


if __name__ == "__main__":
    serve(TFRS())
