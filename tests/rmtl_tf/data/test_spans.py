"""A file read in parts gives what it gives in one piece, wherever the parts begin."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.data import spans
from rmtl_tf.data.lines import MAX_LINES, BadLine
from rmtl_tf.data.spans import (
    Settled,
    Span,
    input_bytes,
    nominal_spans,
    number_lines,
    read_names,
    read_span,
    settle,
)

COLUMNS = ("a", "b")


def _read(path: Path, parts: list[Span], block_size: int = 1 << 20) -> tuple[list[tuple], list[BadLine]]:
    blocks = [block for span in parts for block in read_span(path, span, COLUMNS, block_size)]
    rows = [row for block in blocks for row in block.rows.select("#line", *COLUMNS).iter_rows()]
    return rows, [bad for block in blocks for bad in block.bad]


def _parts(path: Path, span_size: int) -> list[Span]:
    return number_lines([settle(path, span) for span in nominal_spans(path, 0, span_size)])


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["1,2", '"x\ny",z', '1,"2', "1,2,3", "", '"a""b",c', "é,日"]), max_size=40),
    st.integers(0, 3),
    st.integers(40, 900),
)
def test_parts_give_the_rows_bad_lines_and_numbers_of_the_whole(tmp_path_factory, lines, quiet, span_size):
    """Stretches without quotes make safe places between lines of every kind."""
    path = tmp_path_factory.mktemp("csv") / "logs.csv"
    stretch = ["5,6"] * (MAX_LINES + 20)
    body = [*lines, *(stretch * quiet), *reversed(lines), *(stretch * quiet)]
    path.write_text("\n".join(["a,b", *body]) + "\n", encoding="utf-8")
    assert _read(path, _parts(path, span_size), 256) == _read(path, [Span(0, 0, 0, None, 1)])


def test_a_large_file_is_cut_into_parts_that_follow_each_other(tmp_path):
    path = tmp_path / "logs.csv"
    path.write_text("a,b\n" + "1,2\n" * 5000)
    spans = _parts(path, 4000)
    assert len(spans) >= 5
    assert spans[0].begin == 0
    assert [span.end for span in spans[:-1]] == [span.begin for span in spans[1:]]
    assert spans[-1].end == path.stat().st_size
    assert [span.line for span in spans] == [1 + span.begin // 4 for span in spans]


def test_a_quoted_value_is_never_cut(tmp_path):
    """Lines of an open value look like rows; a part must not begin on one."""
    path = tmp_path / "logs.csv"
    value = "\n".join(["7,8"] * (MAX_LINES - 2))
    path.write_text(f'a,b\n1,"{value}"\n' + "3,4\n" * 300)
    for span_size in range(20, 400, 7):
        rows, bad = _read(path, _parts(path, span_size))
        assert (len(rows), rows[0], bad) == (301, (2, "1", value), [])


@pytest.mark.parametrize("step", [3, 8, 37])
def test_parts_are_the_same_however_few_bytes_are_looked_at_at_a_time(tmp_path, monkeypatch, step):
    """Rows before and after a long value: a quote forgotten between two reads would begin a part in it."""
    path = tmp_path / "logs.csv"
    value = "\n".join(["7,8"] * (MAX_LINES - 2))
    path.write_text("a,b\n" + "3,4\n" * 60 + f'1,"{value}"\n' + "3,4\n" * 400)
    sizes = range(50, 900, 23)
    expected = [_parts(path, size) for size in sizes]
    assert max(map(len, expected)) > 3
    monkeypatch.setattr(spans, "_STEP", step)
    assert [_parts(path, size) for size in sizes] == expected


def test_small_and_compressed_files_are_one_part(tmp_path):
    small, compressed = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    small.write_text("a,b\n1,2\n")
    compressed.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000, mtime=0))
    assert nominal_spans(small, 3, 100) == [Span(3, 0, 0, None)]
    (span,) = _parts(compressed, 10)
    assert _read(compressed, [span])[0][-1] == (1001, "1", "2")


def test_a_row_group_of_parquet_is_a_part(tmp_path):
    path = tmp_path / "logs.parquet"
    frame = pl.DataFrame({"b": range(10), "a": [str(n) for n in range(10)]})
    frame.write_parquet(path, row_group_size=4)
    spans = _parts(path, 1)
    assert [(span.begin, span.end, span.line) for span in spans] == [(0, 1, 1), (1, 2, 5), (2, 3, 9)]
    assert _read(path, spans)[0] == [(n + 1, str(n), n) for n in range(10)]
    assert read_names(path) == ["b", "a"]


def test_parts_in_any_order_get_their_numbers_and_those_without_a_beginning_join_the_one_before():
    settled = [
        Settled(Span(0, 2, 80, 120), 90, 1, 3),
        Settled(Span(0, 0, 0, 40), 0, 0, 4),
        Settled(Span(0, 1, 40, 80), None, 2, 0),
        Settled(Span(0, 3, 120, 130), None, 1, 0),
    ]
    assert number_lines(settled) == [Span(0, 0, 0, 90, 1), Span(0, 2, 90, 130, 8)]


def test_a_line_over_many_parts_is_in_one(tmp_path):
    path = tmp_path / "logs.csv"
    path.write_text("a,b\n" + "1,2\n" * 300 + "x" * 5000 + "\n" + "3,4\n" * 600)
    spans = _parts(path, 1000)
    (part,) = [span for span in spans if span.begin < 1300 < span.end]
    assert part.end > 1204 + 5000
    assert _read(path, spans) == _read(path, [Span(0, 0, 0, None, 1)])


@pytest.mark.parametrize(("name", "factor"), [("a.csv", 1), ("a.csv.gz", 5), ("a.parquet", 4)])
def test_compressed_files_count_as_more_bytes(tmp_path, name, factor):
    (tmp_path / name).write_bytes(b"x" * 10)
    assert input_bytes([tmp_path / name]) == 10 * factor
