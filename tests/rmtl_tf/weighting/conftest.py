"""A batch of losses and everything a weighting may read about it."""

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.weighting.base import Context

N = 7


def make_losses(tasks=2):
    return tf.constant(np.random.default_rng(0).random((N, tasks)), tf.float32)


def make_context(tasks=2):
    """The last two rows are padding, with values nobody may look at."""
    random = np.random.default_rng(1)
    mask = np.array([1, 1, 1, 1, 1, 0, 0], np.float32)
    q, returns = (-random.random((N, tasks)).astype(np.float32) * 9 for _ in range(2))
    q[mask == 0], returns[mask == 0] = -1e6, -1e6
    return Context(
        q=tf.constant(q),
        returns=tf.constant(returns),
        labels=tf.constant(random.integers(0, 2, (N, tasks)), tf.int64),
        session_length=tf.constant([3, 3, 3, 2, 2, 0, 0], tf.float32),
        mask=tf.constant(mask),
        frozen=tf.constant(random.random((N, tasks)), tf.float32),
        value=tf.constant(-random.random((N, tasks)) * 9, tf.float32),
    )


@pytest.fixture
def losses():
    return make_losses()


@pytest.fixture
def context():
    return make_context()
