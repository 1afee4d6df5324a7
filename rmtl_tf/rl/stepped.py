"""Several training steps in one call, whose logs still tell of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from rmtl_tf import xla


class SteppedModel(keras.Model):
    """Base of the models that `fit` trains: a subclass defines `train_step(batch) -> {name: scalar}`.

    With `steps_per_execution` S, `fit` calls callbacks after S batches instead of every one. Stock Keras
    gives them the logs of the last batch; here they get those of all, {name: [n]} float32 tensors with
    n <= S, so that nothing that is logged, summed or checked depends on S. Variables neither: the steps are
    the same, one after another.
    """

    train_function: Any

    def compile(self, *arguments: Any, **settings: Any) -> None:
        """As in Keras, but for `jit_compile`: `rmtl_tf.xla` answers that. Keras would leave XLA out wherever
        operations are deterministic, which they are in every run."""
        super().compile(*arguments, **{**settings, "jit_compile": False})

    def make_train_function(self, force: bool = False) -> Callable[[Any], dict[str, tf.Tensor]]:
        """Makes what `fit` calls with an iterator over batches."""
        if self.train_function is None or force:
            self.train_function = _steps_of(self)
        return self.train_function


def _steps_of(model: keras.Model) -> Callable[[Any], dict[str, tf.Tensor]]:
    names: list[str] = []
    most = model.steps_per_execution

    def step(batch: Any) -> tf.Tensor:
        logs = model.train_step(batch)
        names[:] = logs
        return tf.stack([tf.cast(value, tf.float32) for value in logs.values()])  # [names]

    def replicated(batch: Any) -> tf.Tensor:
        strategy = model.distribute_strategy
        return strategy.reduce("MEAN", strategy.run(step, args=(batch,)), axis=None)

    one = tf.function(replicated, reduce_retracing=True, jit_compile=xla.chosen(), autograph=False)

    def several(iterator: Any) -> dict[str, tf.Tensor]:
        def more(count: tf.Tensor, following: Any, rows: tf.TensorArray) -> tf.Tensor:
            return tf.logical_and(count < most, following.has_value())

        def advance(count: tf.Tensor, following: Any, rows: tf.TensorArray) -> tuple[Any, ...]:
            rows = rows.write(count, one(following.get_value()))
            # A batch taken beyond the last step would be lost.
            following = tf.cond(count + 1 < most, iterator.get_next_as_optional, lambda: following)
            return count + 1, following, rows

        rows = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=None)
        start = (tf.constant(0), iterator.get_next_as_optional(), rows)
        logs = tf.while_loop(more, advance, start)[-1].stack()  # [n, names]
        return {name: logs[:, i] for i, name in enumerate(names)}

    def single(iterator: Any) -> dict[str, tf.Tensor]:
        logs = one(iterator.get_next())
        return {name: logs[i : i + 1] for i, name in enumerate(names)}

    return tf.function(single if most == 1 else several, reduce_retracing=True, autograph=False)
