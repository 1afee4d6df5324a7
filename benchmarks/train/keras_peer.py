"""The worker that trains with plain Keras: a functional model, stock `Adam`, and `fit` on arrays."""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from benchmarks.train.functional import PROBABILITIES, Functional, columns, logits_of, set_weights
from benchmarks.train.serve import serve
from benchmarks.train.setting import LEARNING_RATE, Setting


class KerasModel:
    """A compiled model and its records; without XLA, which on CPU is many times slower."""

    def __init__(self, setting: Setting) -> None:
        keras.utils.set_random_seed(setting.seed)
        self.setting = setting
        self.x, self.y = columns(setting, *setting.records())
        self.model = Functional(keras, setting).model()
        loss = keras.losses.BinaryCrossentropy(from_logits=setting.backbone not in PROBABILITIES)
        self.model.compile(
            optimizer=keras.optimizers.Adam(LEARNING_RATE),
            loss=dict.fromkeys(self.y, loss),
            jit_compile=False,
        )

    def steps(self, count: int) -> float:
        """Of one `fit`, its start and end included."""
        records = self.setting.batch * count
        if count > self.setting.batches:
            raise ValueError(f"expected at most {self.setting.batches} steps a round, received {count}")
        x, y = ({name: column[:records] for name, column in part.items()} for part in (self.x, self.y))
        began = time.perf_counter()
        self.model.fit(x, y, batch_size=self.setting.batch, verbose=0)
        return time.perf_counter() - began

    def logits(self, ids: np.ndarray) -> np.ndarray:
        x, _ = columns(self.setting, ids, np.zeros((len(ids), self.setting.tasks)))
        return logits_of(self.setting, self.model.predict(x, batch_size=len(ids), verbose=0))

    def loss(self, ids: np.ndarray, labels: np.ndarray) -> float:
        x, y = columns(self.setting, ids, labels)
        total = self.model.evaluate(x, y, batch_size=len(ids), verbose=0, return_dict=True)["loss"]
        return total / self.setting.tasks  # Keras adds the tasks' losses up

    def set_weights(self, **weights: np.ndarray) -> None:
        set_weights(self.model, weights)


class Keras:
    def make(self, setting: Setting) -> KerasModel:
        return KerasModel(setting)

    def describe(self) -> dict[str, Any]:
        return {"version": f"Keras {keras.__version__}", "threads": _threads()}


def _threads() -> int:
    return tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1


if __name__ == "__main__":
    serve(Keras())
