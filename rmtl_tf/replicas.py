"""Sums over the replicas of a `tf.distribute` strategy.

A batch is split over replicas, and every mean of a loss or a weighting is one over the whole batch: the sum
of the replicas' sums over the sum of their counts. So the step does not depend on the number of replicas.
Keras optimizers add up the replicas' gradients; a loss therefore divides its own sum by the count of all.

Outside `Strategy.run`, and where there is one replica, these functions give back what they are given.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def several() -> bool:
    """Whether this code runs on one replica of several."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def total(values: Any) -> Any:
    """The sum over all replicas of a tensor, or of each tensor of a list; the same on every replica."""
    if not several():
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def largest(value: tf.Tensor) -> tf.Tensor:
    """The largest over all replicas, element by element."""
    if not several():
        return value
    every = tf.distribute.get_replica_context().all_gather(value[tf.newaxis], axis=0)
    return tf.reduce_max(every, axis=0)
