from __future__ import annotations

import gzip

import polars as pl
import pytest

from rmtl_tf.data.side_tables import left_join, read_side_table, write_side_table
from rmtl_tf.errors import UserError


def _rows(count: int) -> list[str]:
    """key,time,value rows whose keys and times come in no order; equal ones differ in the value."""
    return [f"k{(i * 37) % 101},{(i * 13) % 7},v{i}" for i in range(count)]


def _write(path, lines, header="key,time,value"):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.mark.parametrize(("batch", "bucket"), [(1 << 20, 1 << 20), (200, 1 << 20), (300, 500)])
def test_the_rows_of_the_keys_come_back_sorted_whatever_the_batches_and_buckets(tmp_path, batch, bucket):
    lines = _rows(500)
    files = [_write(tmp_path / "a.csv", lines[:300]), _write(tmp_path / "b.csv", lines[300:])]
    table = tmp_path / "table"
    write_side_table(
        files, ("key", "time", "value"), "key", table, sort=("time",), batch=batch, bucket=bucket
    )
    keys = pl.Series("key", ["k5", "k100", "absent", "k5", None])
    rows = read_side_table(table, keys)
    split = [line.split(",") for line in lines]
    expected = sorted((r for r in split if r[0] in ("k5", "k100")), key=lambda r: (r[0], r[1]))
    assert sorted(map(list, rows.rows()), key=lambda r: r[0]) == expected
    assert (len(list(table.iterdir())) > 1) == (bucket == 500)


def test_rows_are_selected_and_made_by_keep_and_others_left_out(tmp_path):
    path = _write(tmp_path / "a.csv", ["a,1,x", "b,2,y", ",3,z"])
    keep = lambda rows: rows.filter(pl.col("time") != "2").select("key", n=pl.col("time").cast(pl.Int64))  # noqa: E731
    write_side_table([path], ("key", "time"), "key", tmp_path / "t", keep)
    assert read_side_table(tmp_path / "t", pl.Series("key", ["a", "b", ""])).rows() == [("a", 1)]


def test_quotes_gzip_a_byte_order_mark_and_files_without_a_header_are_read(tmp_path):
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress('\ufeffkey,"value"\na,"1,2"\nb,\n'.encode()))
    write_side_table([packed], ("key", "value"), "key", tmp_path / "t")
    assert read_side_table(tmp_path / "t", pl.Series("key", ["a", "b"])).rows() == [("a", "1,2"), ("b", None)]
    bare = _write(tmp_path / "b.csv", ["b,2"], header="a,1")
    write_side_table([bare], ("value", "key"), "key", tmp_path / "u", header=("key", "value"))
    assert read_side_table(tmp_path / "u", pl.Series("key", ["a", "b"])).height == 2


def test_a_join_takes_the_first_row_of_a_key_and_keeps_every_record_in_place(tmp_path):
    path = _write(tmp_path / "a.csv", ["b,2,second", "a,1,x", "b,1,first"])
    write_side_table([path], ("key", "time", "value"), "key", tmp_path / "t", sort=("time",))
    records = pl.DataFrame({"id": ["b", "q", None, "a", "b"], "n": [1, 2, 3, 4, 5]})
    joined = left_join(records, "id", tmp_path / "t", "key", {"is": "value"})
    assert joined["n"].to_list() == [1, 2, 3, 4, 5]
    assert joined["is"].to_list() == ["first", None, None, "x", "first"]


def test_a_table_without_rows_joins_as_missing_values(tmp_path):
    write_side_table([_write(tmp_path / "a.csv", [])], ("key", "value"), "key", tmp_path / "t")
    joined = left_join(pl.DataFrame({"id": ["a"]}), "id", tmp_path / "t", "key", {"is": "value"})
    assert joined["is"].to_list() == [None]


def test_a_missing_column_and_a_broken_file_are_named(tmp_path):
    path = _write(tmp_path / "a.csv", ["a,1,x"])
    with pytest.raises(UserError, match=r'a\.csv: column "valeu" is missing; did you mean "value"\?'):
        write_side_table([path], ("key", "valeu"), "key", tmp_path / "t")
    broken = _write(tmp_path / "b.csv", ["a,1,x", "b"])
    with pytest.raises(UserError, match=r"b\.csv: cannot be read as CSV to its end"):
        write_side_table([broken], ("key",), "key", tmp_path / "u")
