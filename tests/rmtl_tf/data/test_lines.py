from __future__ import annotations

import csv
import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.data import lines, spans
from rmtl_tf.data.lines import MAX_LINE, MAX_LINES, BadLine, read_blocks
from rmtl_tf.data.spans import nominal_spans, number_lines, settle
from rmtl_tf.errors import UserError
from tests.rmtl_tf.data import csv_oracle


def _read(
    path: Path, columns: tuple[str, ...], block_size: int = 1 << 20
) -> tuple[list[tuple], list[BadLine]]:
    """All rows as (line, value, ...) and all bad lines of a file."""
    blocks = list(read_blocks(path, columns, block_size))
    rows = [row for block in blocks for row in block.rows.select("#line", *columns).iter_rows()]
    return rows, [bad for block in blocks for bad in block.bad]


def _parse(tmp_path: Path, text: str | bytes, columns: tuple[str, ...] = ("a", "b"), **options):
    path = tmp_path / "logs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _read(path, columns, **options)


def test_rows_come_with_the_line_they_stand_on(tmp_path):
    assert _parse(tmp_path, "a,b\n1,2\n3,4\n") == ([(2, "1", "2"), (3, "3", "4")], [])


def test_without_a_header_line_the_first_line_is_a_row(tmp_path):
    path = tmp_path / "logs.csv"
    path.write_text("1,2\n3,4\n5\n")
    blocks = list(read_blocks(path, ("b",), header=("a", "b")))
    assert [row for block in blocks for row in block.rows.select("#line", "b").iter_rows()] == [
        (1, "2"),
        (2, "4"),
    ]
    assert [bad.line for block in blocks for bad in block.bad] == [3]


@pytest.mark.parametrize("block_size", [1, 1 << 20])
def test_a_byte_order_mark_stands_before_the_first_line_only(tmp_path, block_size):
    path = tmp_path / "logs.csv"
    path.write_bytes("\ufeff1,2\n\ufeff3,4\n".encode())
    blocks = list(read_blocks(path, ("a",), block_size, header=("a", "b")))
    assert [row for block in blocks for row in block.rows["a"]] == ["1", "\ufeff3"]


def test_wanted_columns_are_found_by_name_and_others_ignored(tmp_path):
    rows, bad = _parse(tmp_path, "x,b,y,a\n1,2,3,4\n", ("a", "b"))
    assert (rows, bad) == ([(2, "4", "2")], [])


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\r\n1,2\r\n3,4\r\n", [(2, "1", "2"), (3, "3", "4")]),
        ("a,b\n1,2\n\n3,4", [(2, "1", "2"), (4, "3", "4")]),
        ("\ufeffa,b\n1,2\n", [(2, "1", "2")]),
        ('"a","b"\n"1","x,""y"""\n', [(2, "1", 'x,"y"')]),
        ("a,b\n,\n", [(2, "", "")]),
        ("a,b\n", []),
        ('a,b\n5" screen,x\n', [(2, '5" screen', "x")]),
        ("a,b\né,日本\n", [(2, "é", "日本")]),
    ],
    ids=[
        "crlf",
        "blank line",
        "byte order mark",
        "quotes",
        "empty values",
        "header only",
        "quote inside",
        "utf-8",
    ],
)
def test_forms_of_csv_that_are_right(tmp_path, text, rows):
    assert _parse(tmp_path, text) == (rows, [])


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        (b"1", "wrong number of fields", ""),
        (b"1,2,3", "wrong number of fields", ""),
        (b'"1,2', "unclosed quote", ""),
        (b'1,"2', "unclosed quote", ""),
        (b"1,\xff\xfe", "invalid UTF-8", "b"),
        (b"1,x\ry", "unparsable row", ""),
    ],
)
def test_a_line_that_is_no_row_costs_nothing_but_itself(tmp_path, line, reason, column):
    rows, bad = _parse(tmp_path, b"a,b\n1,2\n" + line + b"\n3,4\n")
    assert rows == [(2, "1", "2"), (4, "3", "4")]
    assert [(b.line, b.reason, b.column) for b in bad] == [(3, reason, column)]


def test_bytes_that_are_no_text_are_shown_escaped(tmp_path):
    _, bad = _parse(tmp_path, b"a,b\n1,\xffz\n\xff\n")
    assert [b.value for b in bad] == ["\\xffz", "\\xff"]


def test_bytes_that_are_no_text_do_no_harm_in_a_column_nobody_reads(tmp_path):
    assert _parse(tmp_path, b"a,note,b\n1,\xff,2\n3,,4\n")[0] == [(2, "1", "2"), (3, "3", "4")]


def test_a_quoted_value_may_go_over_lines_and_later_numbers_stay_right(tmp_path):
    rows, bad = _parse(tmp_path, 'a,b\n1,"x\ny\n\nz"\n"2\n",3\n4,5\n')
    assert (rows, bad) == ([(2, "1", "x\ny\n\nz"), (6, "2\n", "3"), (8, "4", "5")], [])


def test_a_stray_quote_does_not_swallow_the_lines_up_to_the_next(tmp_path):
    lines = ["1,2"] * 5
    lines[1] = lines[4] = '1,"2'
    rows, bad = _parse(tmp_path, "a,b\n" + "\n".join(lines) + "\n")
    assert [row[0] for row in rows] == [2, 4, 5]
    assert [(b.line, b.reason) for b in bad] == [(3, "unclosed quote"), (6, "unclosed quote")]


@pytest.mark.parametrize(("lines", "whole"), [(MAX_LINES, True), (MAX_LINES + 1, False)])
def test_a_value_goes_over_so_many_lines_at_most(tmp_path, lines, whole):
    value = "x\n" * (lines - 1)
    rows, bad = _parse(tmp_path, f'a,b\n1,"{value}"\n3,4\n', block_size=32)
    assert rows[-1] == (lines + 2, "3", "4")
    assert (len(rows) == 2 and not bad) == whole


_FIELDS = st.lists(st.text('ab",\n\r é日', max_size=4), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(_FIELDS, max_size=12), st.sampled_from([1, 7, 40, 1 << 20]), st.booleans())
def test_whatever_a_csv_writer_writes_is_read_back(tmp_path_factory, rows, block_size, windows):
    text = io.StringIO()
    # Asked for "\n" alone, Python's writer does not quote a "\r".
    quoting = csv.QUOTE_MINIMAL if windows else csv.QUOTE_ALL
    writer = csv.writer(text, lineterminator="\r\n" if windows else "\n", quoting=quoting)
    writer.writerows([["a", "b", "c"], *rows])
    path = tmp_path_factory.mktemp("csv") / "logs.csv"
    path.write_bytes(text.getvalue().encode())
    found, bad = _read(path, ("a", "b", "c"), block_size)
    assert [list(row[1:]) for row in found] == rows
    assert bad == []


@settings(max_examples=150, deadline=None)
@given(st.text('a,"\n\r', max_size=60).map(str.encode) | st.binary(max_size=60), st.integers(1, 30))
def test_blocks_do_not_change_what_is_read(tmp_path_factory, body, block_size):
    path = tmp_path_factory.mktemp("csv") / "logs.csv"
    path.write_bytes(b"a,b\n" + body)
    whole = _read(path, ("a", "b"))
    assert _read(path, ("a", "b"), block_size) == whole
    lines = [row[0] for row in whole[0]] + [bad.line for bad in whole[1]]
    assert len(set(lines)) == len(lines)
    assert all(2 <= line <= 2 + body.count(b"\n") for line in lines)


@settings(max_examples=150, deadline=None)
@given(st.text('ab,"', max_size=12))
def test_a_line_reads_the_same_whichever_way_it_takes(tmp_path_factory, line):
    """A byte that is not UTF-8 in a column nobody reads sends the line to be read one by one."""
    path = tmp_path_factory.mktemp("csv") / "logs.csv"
    results = []
    for note in (b"x", b"\xff"):
        path.write_bytes(b"note,a,b\n" + note + b"," + line.encode() + b"\n")
        rows, bad = _read(path, ("a", "b"))
        results.append((rows, [b.reason for b in bad]))
    assert results[0] == results[1]


_TOKENS = (b"a", b",", b",,", b'"', b'""', b'",', b',"', b"\n", b"\n\n", b"\r", b"\r\n", b"\0", b" ")
_BYTES = (
    *_TOKENS,
    "é".encode(),
    "é".encode("latin-1"),
    "日".encode(),
    b"\xff",
    b"\xef\xbb\xbf",
    b"1,2\n",
    b"1,2,3\n",
)
_BODIES = st.lists(st.sampled_from(_BYTES), max_size=40).map(b"".join) | st.binary(max_size=40)
_HEADERS = st.sampled_from((("a",), ("a", "b"), ("note", "a", "b")))


@settings(max_examples=500)
@given(
    body=_BODIES,
    header=_HEADERS,
    max_line=st.sampled_from([3, 8, 20, 1000]),
    block_size=st.integers(1, 50),
    span_size=st.integers(6, 60),
    packed=st.booleans(),
)
def test_any_bytes_are_read_as_a_slow_reader_reads_them(
    tmp_path_factory, body, header, max_line, block_size, span_size, packed
):
    """In blocks of any size, in parts, compressed; with 3 lines a value at most, so that there are parts."""
    columns = ("a",) if len(header) == 1 else ("b", "a")
    data = ",".join(header).encode() + b"\n" + body
    path = tmp_path_factory.mktemp("csv") / ("logs.csv.gz" if packed else "logs.csv")
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "MAX_LINES", 3)
        patch.setattr(spans, "MAX_LINES", 3)
        patch.setattr(spans, "_STEP", 7)
        parts = number_lines([settle(path, span) for span in nominal_spans(path, 0, span_size)])
        blocks = [
            block
            for part in parts
            for block in read_blocks(
                path,
                columns,
                block_size,
                begin=part.begin,
                end=part.end,
                line=part.line,
                max_line=max_line,
            )
        ]
    rows = [row for block in blocks for row in block.rows.select("#line", *columns).iter_rows()]
    bad = [(b.line, b.reason, b.column, b.value) for block in blocks for b in block.bad]
    assert (rows, bad) == csv_oracle.read(data, header, columns, 3, max_line)


@pytest.mark.parametrize("block_size", [5, 64, 1 << 20])
def test_a_line_too_long_is_one_bad_line_and_the_numbers_after_it_stay_right(tmp_path, block_size):
    path = tmp_path / "logs.csv"
    path.write_text("a,b\n1,2\n" + "x" * 1001 + "\n3,4\n" + "y," + "z" * 998 + "\n5,6\n" + "z" * 3000)
    blocks = list(read_blocks(path, ("a", "b"), block_size, max_line=1000))
    rows = [row for block in blocks for row in block.rows.select("#line", "a").iter_rows()]
    bad = [(b.line, b.reason, b.value) for block in blocks for b in block.bad]
    assert rows == [(2, "1"), (4, "3"), (5, "y"), (6, "5")]
    assert bad == [(3, "line too long", "x" * 800), (7, "line too long", "z" * 800)]


@pytest.mark.parametrize("packed", [False, True])
def test_memory_and_time_do_not_grow_with_a_line(tmp_path, packed):
    """A line 30 times the longest: what is held at a time is some blocks, not the line."""
    path = tmp_path / ("logs.csv.gz" if packed else "logs.csv")
    with gzip.open(path, "wb", 1) if packed else path.open("wb") as stream:
        stream.write(b"a,b\n1,2\n")
        for _ in range(120):
            stream.write(b"x" * (1 << 20))
        stream.write(b"\n3,4\n")
    tracemalloc.start()
    rows, bad = _read(path, ("a", "b"), MAX_LINE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (rows, [b.line for b in bad]) == ([(2, "1", "2"), (4, "3", "4")], [3])
    assert peak < 8 * MAX_LINE


def test_gzip_is_read_by_its_name_and_a_torn_file_is_named(tmp_path):
    path = tmp_path / "logs.csv.gz"
    data = gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)
    path.write_bytes(data)
    rows, bad = _read(path, ("a", "b"), 1000)
    assert (len(rows), rows[-1], bad) == (10_000, (10_001, "1", "2"), [])
    path.write_bytes(data[:-10])
    with pytest.raises(
        UserError, match=r"logs\.csv\.gz: cannot be read to its end .* Is the file complete\?"
    ):
        _read(path, ("a", "b"), 1000)


def test_a_column_nobody_reads_may_stand_twice(tmp_path):
    assert _parse(tmp_path, "x,a,x,b\n0,1,0,2\n")[0] == [(2, "1", "2")]
