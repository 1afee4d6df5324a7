"""`fit` of several steps in one call: callbacks get the logs of each."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.rl.stepped import SteppedModel


class Counter(SteppedModel):
    """Adds up what it is given."""

    def __init__(self):
        super().__init__()
        self.total = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.built = True

    def train_step(self, batch):
        self.total.assign_add(batch["x"])
        return {"x": batch["x"], "total": tf.convert_to_tensor(self.total)}


class Record(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append({name: np.asarray(value).tolist() for name, value in logs.items()})


def fit(model, steps, batches):
    model.steps_per_execution = steps
    record = Record()
    data = tf.data.Dataset.from_tensor_slices({"x": np.arange(1, batches + 1, dtype=np.float32)})
    model.fit(data, verbose=0, callbacks=[record])
    return record.logs


@pytest.mark.parametrize(
    ("steps", "batches", "calls"),
    [(1, 3, [[1], [2], [3]]), (2, 5, [[1, 2], [3, 4], [5]]), (4, 4, [[1, 2, 3, 4]]), (9, 2, [[1, 2]])],
)
def test_every_batch_is_trained_on_once_and_tells_its_logs(steps, batches, calls):
    model = Counter()
    model.compile(jit_compile=False)
    logs = fit(model, steps, batches)
    assert [log["x"] for log in logs] == calls
    assert [value for log in logs for value in log["total"]] == np.cumsum(np.arange(1, batches + 1)).tolist()
    assert float(model.total) == batches * (batches + 1) / 2


def test_another_fit_goes_on_with_the_function_that_was_made():
    model = Counter()
    model.compile(jit_compile=False)
    fit(model, 2, 3)
    function = model.train_function
    assert fit(model, 2, 3)[0]["total"] == [7, 9]
    assert model.train_function is function
