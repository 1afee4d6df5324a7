"""Rows that stand twice in a gradient are added up."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from rmtl_tf.optimizers.slices import SummedSlices, map_values, sum_duplicates, summed


def test_rows_are_summed_and_stand_once():
    random = np.random.default_rng(0)
    rows, values = random.integers(0, 9, 50).astype(np.int32), random.normal(size=(50, 3)).astype(np.float32)
    expected = np.zeros((9, 3))
    np.add.at(expected, rows, values)
    result = summed(tf.IndexedSlices(values, rows, (9, 3)))
    assert len(set(result.indices.numpy())) == len(result.indices) == len(set(rows))
    np.testing.assert_allclose(result.values, expected[result.indices.numpy()], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tf.linalg.global_norm([result]), np.linalg.norm(expected), rtol=1e-5)


def test_what_is_summed_dense_or_missing_is_left_alone():
    slices = SummedSlices(tf.ones((2, 3)), tf.constant([4, 1]), tf.constant([9, 3]))
    full = tf.ones((2, 2))
    result = sum_duplicates([slices, full, None])
    assert all(a is b for a, b in zip(result, [slices, full, None], strict=True))


def test_a_dense_gradient_has_all_rows():
    result = summed(tf.ones((4, 2)))
    np.testing.assert_array_equal(result.indices, range(4))


def test_mapping_keeps_the_rows():
    result = map_values(
        SummedSlices(tf.ones((2, 3)), tf.constant([4, 1]), tf.constant([9, 3])), lambda x: 2 * x
    )
    assert isinstance(result, SummedSlices)
    np.testing.assert_array_equal(result.indices, [4, 1])
    np.testing.assert_array_equal(result.values, np.full((2, 3), 2.0))
    np.testing.assert_array_equal(map_values(tf.ones(2), lambda x: 2 * x), [2, 2])
