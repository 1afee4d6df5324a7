"""Which variables are tables, what happens before rows are read, and how rows are staged."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf import xla
from rmtl_tf.optimizers.tables import Kernel, before_read, is_table, read_rows, staged


def test_tables_are_matrices_with_the_name_of_one():
    assert is_table(keras.Variable(np.zeros((3, 2)), name="table"))
    assert is_table(keras.Variable(np.zeros((3, 2)), name="embeddings"))
    assert is_table(tf.Variable(np.zeros((3, 2)), name="critic/embedding/table"))
    assert not is_table(keras.Variable(np.zeros((3, 2)), name="kernel"))
    assert not is_table(keras.Variable(np.zeros(3), name="table"))


def test_a_hook_gets_every_row_once_before_it_is_read_until_it_is_released():
    table = keras.Variable(np.zeros((5, 2)), name="table")
    seen = []

    def hook(rows):
        seen.append(sorted(rows.numpy().tolist()))
        table.assign(table + 1.0)

    release = before_read(table, hook)
    np.testing.assert_array_equal(read_rows(table, tf.constant([[3, 1], [3, 3]])), np.ones((2, 2, 2)))
    release()
    np.testing.assert_array_equal(read_rows(table, tf.constant([0])), np.ones((1, 2)))
    assert seen == [[1, 3]]


@pytest.mark.parametrize("with_xla", [False, True])
def test_a_kernel_changes_the_staged_rows_and_no_other(with_xla, monkeypatch):
    monkeypatch.setattr(xla, "chosen", lambda: with_xla)
    table, slot = tf.Variable(tf.ones((6, 2))), tf.Variable(tf.fill((6, 2), 10.0))

    def fused(handles):
        assert not with_xla
        tf.raw_ops.AssignAddVariableOp(resource=handles[0], value=tf.fill((2, 2), 5.0))
        tf.raw_ops.AssignAddVariableOp(resource=handles[1], value=tf.fill((2, 2), 1.0))

    kernel = Kernel(fused, lambda w, s: [w + 5.0, s + 1.0])
    step = tf.function(lambda rows: staged([table, slot], rows, kernel, lambda w, s: [2.0 * w, s]))
    for _ in range(2):
        step(tf.constant([4, 0]))
    expected = np.ones((6, 2))
    expected[[0, 4]] = 2 * (2 * 1 + 5) + 5
    np.testing.assert_array_equal(table, expected)
    assert slot.numpy()[:, 0].tolist() == [12, 10, 10, 10, 12, 10]
