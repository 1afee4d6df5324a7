from __future__ import annotations

import re

import polars as pl
import pytest

from rmtl_tf.data.datasets.base import Column, column_of, find_files, label_time, no_exclusions
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Feature


def test_files_are_found_by_pattern_and_sorted_by_name(tmp_path):
    for name in ("b.csv", "a.csv.gz", "c.txt", "a.csv"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert [p.name for p in find_files(tmp_path, ("*.csv", "*.csv.gz"))] == ["a.csv", "a.csv.gz", "b.csv"]


def test_a_folder_or_a_dead_link_by_the_name_of_a_file_is_not_passed_over(tmp_path):
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(UserError, match=r"expected a file .*b\.csv, but it is a folder\. If its files are"):
        find_files(tmp_path, ("*.csv",))
    (tmp_path / "b.csv").rmdir()
    (tmp_path / "b.csv").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"b\.csv, but it is a link to .*gone, which is not there"):
        find_files(tmp_path, ("*.csv",))


def test_a_path_that_is_a_file_is_that_file(tmp_path):
    path = tmp_path / "anything.log"
    path.touch()
    assert find_files(path, ("*.csv",)) == [path]


def test_a_missing_folder_says_how_to_give_one(tmp_path):
    with pytest.raises(
        UserError, match=r"absent does not exist\. Give the folder that holds events\.csv: --set data\.path="
    ):
        find_files(tmp_path / "absent", ("events.csv",))


def test_a_folder_without_the_file_says_what_it_holds(tmp_path):
    (tmp_path / "other.csv").touch()
    with pytest.raises(UserError, match=re.escape("holds no events.csv; found other.csv.")):
        find_files(tmp_path, ("events.csv",))
    (tmp_path / "other.csv").unlink()
    with pytest.raises(UserError, match="found nothing"):
        find_files(tmp_path, ("events.csv",))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("categorical", "string"),
        ("key", "string"),
        ("numeric", "float"),
        ("label", "label"),
        ("timestamp", "timestamp"),
    ],
)
def test_a_features_column_carries_its_rules(kind, dtype):
    feature = Feature("f", kind, required=True, low=1.0, high=2.0, values=("a", "b"))
    column = column_of(feature, "rawF")
    assert column == Column("f", dtype, "rawF", required=True, low=1.0, high=2.0, values=("a", "b"))
    assert column.source == "rawF"
    assert column_of(feature).source == "f"


def test_label_times_cannot_meet_a_feature_name():
    assert label_time("click") == "#time:click"


def test_no_exclusions_has_the_columns_of_exclusions_and_no_rows():
    events = pl.DataFrame({"#file": [0], "#line": [2], "x": ["a"]})
    assert no_exclusions(events).columns == ["#file", "#line", "reason", "column", "value"]
    assert no_exclusions(events).height == 0
