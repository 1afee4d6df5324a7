"""Features go to a file where they are asked to, or would take too much of the free memory."""

from __future__ import annotations

import pytest

from rmtl_tf.inputs import read_table
from rmtl_tf.training import record_place
from rmtl_tf.training.record_place import features_size, spill_folder
from tests.rmtl_tf.test_inputs import SPEC, example, write

COLUMNS = (SPEC, ["click"], "t")


@pytest.fixture
def split(tmp_path):
    for name in range(3):
        write(tmp_path, *[[example(f"{name}", 20)] * 50] * 4)
    return tmp_path


def test_the_size_is_that_of_two_copies_of_the_columns(split):
    table = read_table(split, *COLUMNS)
    true = 2 * sum(column.nbytes for column in table.features.values())
    assert features_size(split, *COLUMNS) == pytest.approx(true, rel=0.01)


def test_auto_takes_a_file_where_features_need_more_than_half_of_what_is_free(split, monkeypatch, caplog):
    needed = features_size(split, *COLUMNS)
    for free, folder in ((2 * needed, None), (2 * needed - 2, split / "run")):
        monkeypatch.setattr(record_place, "available", lambda free=free: free)
        with caplog.at_level("INFO"):
            assert spill_folder("auto", split, *COLUMNS, split / "run") == folder
        assert ("takes them" in caplog.text) == (folder is not None)


def test_what_is_asked_for_is_done(split):
    assert spill_folder("disk", split, *COLUMNS, split / "run") == split / "run"
    assert spill_folder("memory", split, *COLUMNS, split / "run") is None


def test_a_split_without_files_is_left_to_the_reader(tmp_path):
    assert spill_folder("auto", tmp_path, *COLUMNS, tmp_path) is None
