"""Whether XLA compiles the training steps: decided here and nowhere else."""

from __future__ import annotations

import tensorflow as tf


def chosen() -> bool:
    """Never on a CPU, where a step with dropout takes many times as long; always where TensorFlow uses a GPU.

    Not under a strategy of tf.distribute: what its replicas exchange lies inside their step, and XLA takes a
    step as a whole.
    """
    return bool(tf.config.get_visible_devices("GPU")) and not tf.distribute.has_strategy()
