"""Columns come back from packed rows to the bit, in numpy and in a graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.features.spec import InputSpec
from rmtl_tf.packed import PackedFeatures, Packing

SPEC = InputSpec(
    categorical=(("user", 9), ("tag", 99)), numeric=("price", "age"), ids=("user",), several=(("tag", 3),)
)


@pytest.fixture
def columns():
    random = np.random.default_rng(1)
    made = {
        "user": random.integers(-9, 9, 20, np.int32),
        "tag": random.integers(0, 99, (20, 3), np.int32),
        "price": random.normal(size=20).astype(np.float32),
        "age": random.normal(size=20).astype(np.float32),
    }
    made["age"][:4] = (np.nan, np.inf, -0.0, 1e-42)
    return made


@pytest.mark.parametrize("packing", [Packing.of, Packing.of_columns])
def test_columns_come_back_to_the_bit(columns, packing):
    packing = packing(SPEC if packing == Packing.of else columns)
    features = PackedFeatures(packing, packing.pack(columns))
    assert features.matrix.shape == (20, packing.width) == (20, 6)
    assert set(features) == set(columns)
    assert len(features) == 4
    for name, column in columns.items():
        assert features[name].dtype == column.dtype
        np.testing.assert_array_equal(features[name].view(np.int32), column.view(np.int32))


def test_rows_of_any_shape_come_back_in_a_graph(columns):
    packing = Packing.of(SPEC)
    matrix, rows = packing.pack(columns), np.array([[3, 0], [19, 3]])
    values = tf.function(packing.unpack)(tf.constant(matrix[rows]))
    for name, column in columns.items():
        np.testing.assert_array_equal(values[name], column[rows])


def test_what_is_packed_is_not_packed_again(columns):
    features = PackedFeatures.of(columns)
    assert PackedFeatures.of(features) is features
    assert not features.in_file


def test_another_type_is_refused_by_name(columns):
    columns["user"] = columns["user"].astype(np.int64)
    with pytest.raises(ValueError, match="user: expected int32 or float32, received int64"):
        PackedFeatures.of(columns)
