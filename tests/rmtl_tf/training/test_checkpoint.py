from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.training import checkpoint
from rmtl_tf.training.checkpoint import assign, copies, copy_into, load_checkpoint, save_checkpoint


def test_groups_and_meta_come_back_to_the_bit(tmp_path):
    path = tmp_path / "folder" / "a.npz"
    values = [np.float32([0.1, np.nan, -0.0]), np.array(7, np.int64), np.array([2**32 - 1], np.uint32)]
    meta = {"epoch": 3, "best": 0.1 + 0.2, "history": [{"auc/click": 0.7}], "none": None}
    save_checkpoint(path, {"state": values, "kept": [tf.Variable([1.5])], "empty": []}, meta)
    groups, loaded = load_checkpoint(path)
    for old, new in zip(values, groups["state"], strict=True):
        assert old.dtype == new.dtype
        assert old.tobytes() == new.tobytes()
    assert groups["kept"][0].tolist() == [1.5]
    assert loaded == meta


def test_more_than_ten_values_keep_their_order(tmp_path):
    save_checkpoint(tmp_path / "a.npz", {"kept": [np.array(i) for i in range(25)]}, {})
    assert [int(v) for v in load_checkpoint(tmp_path / "a.npz")[0]["kept"]] == list(range(25))


def test_no_checkpoint_is_none_and_a_torn_write_is_not_seen(tmp_path):
    path = tmp_path / "a.npz"
    assert load_checkpoint(path) is None
    save_checkpoint(path, {"kept": [np.array(1)]}, {"step": 1})
    (tmp_path / ".a.npz.part").write_bytes(b"torn by a kill")
    assert load_checkpoint(path)[1] == {"step": 1}
    save_checkpoint(path, {"kept": [np.array(2)]}, {"step": 2})
    assert load_checkpoint(path)[1] == {"step": 2}


def test_assign_refuses_a_checkpoint_of_another_model():
    variable = tf.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match="1 values, received 2"):
        assign([variable], [np.zeros(2), np.zeros(2)])
    keras_variable = keras.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match=r"\(2,\), received \(3,\)"):
        assign([keras_variable], [np.zeros(3)])


@pytest.mark.parametrize("make", [tf.Variable, keras.Variable])
@pytest.mark.parametrize("piece", [1, 52, 100, 10_000])
def test_tables_are_copied_written_and_assigned_piece_by_piece_to_the_bit(tmp_path, monkeypatch, make, piece):
    monkeypatch.setattr(checkpoint, "_PIECE", piece)
    value = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
    value[5, 1] = np.nan
    table, other = make(value), make(np.zeros_like(value))
    (copied,) = copies([table])
    np.testing.assert_array_equal(copied, value)
    place = np.empty_like(value)
    copy_into(place, table)
    np.testing.assert_array_equal(place, value)
    save_checkpoint(tmp_path / "pieces.npz", {"kept": [table]}, {})
    save_checkpoint(tmp_path / "whole.npz", {"kept": [value]}, {})
    assert (tmp_path / "pieces.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assign([other], load_checkpoint(tmp_path / "pieces.npz")[0]["kept"])
    np.testing.assert_array_equal(other.numpy(), value)


def test_a_copy_stays_what_it_was_when_the_variable_goes_on():
    table = tf.Variable(np.zeros((4, 2), np.float32))
    (copied,) = copies([table])
    table.scatter_update(tf.IndexedSlices([[1.0, 1.0]], [2]))
    assert not copied.any()
