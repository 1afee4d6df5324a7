from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from rmtl_tf.data.parquet import read_blocks, read_names, row_groups
from rmtl_tf.errors import UserError


def test_rows_come_with_their_numbers_types_and_the_wanted_columns(tmp_path):
    path = tmp_path / "logs.parquet"
    frame = pl.DataFrame(
        {"n": [1, None, 3], "t": [datetime(2020, 1, 1)] * 3, "s": ["x", "", None], "z": [0.5] * 3}
    )
    frame.write_parquet(path, row_group_size=2)
    assert read_names(path) == ["n", "t", "s", "z"]
    assert row_groups(path) == [2, 1]
    (block,) = read_blocks(path, ["s", "n"], 0, 2, 11)
    assert block.rows.rows() == [("x", 1, 11), ("", None, 12), (None, 3, 13)]
    assert block.rows.columns == ["s", "n", "#line"]
    assert block.bad == []


def test_categories_are_spelt_out(tmp_path):
    path = tmp_path / "logs.parquet"
    pl.DataFrame({"a": ["x", "y", "x"]}, schema={"a": pl.Categorical}).write_parquet(path)
    (block,) = read_blocks(path, ["a"], 0, 1, 1)
    assert block.rows["a"].dtype == pl.String
    assert block.rows["a"].to_list() == ["x", "y", "x"]


def test_a_column_of_lists_is_refused_by_name(tmp_path):
    path = tmp_path / "logs.parquet"
    pl.DataFrame({"tags": [["x"]]}).write_parquet(path)
    with pytest.raises(UserError, match=r'logs\.parquet: column "tags" is List'):
        list(read_blocks(path, ["tags"], 0, 1, 1))


def test_what_is_no_parquet_or_is_torn_is_named(tmp_path):
    path = tmp_path / "logs.parquet"
    path.write_text("a,b\n")
    with pytest.raises(UserError, match=r"logs\.parquet: cannot be read as Parquet"):
        read_names(path)
    pl.DataFrame({"a": [str(n) for n in range(5000)]}).write_parquet(path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[20:400] = b"\0" * 380
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"logs\.parquet: cannot be read to its end"):
        list(read_blocks(path, ["a"], 0, 1, 1))
