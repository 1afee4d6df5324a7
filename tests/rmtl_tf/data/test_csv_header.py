from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from rmtl_tf.data.csv_header import LONGEST_HEADER, check_form, missing_column, read_header
from rmtl_tf.errors import UserError

TEXT = b"user,item\n1,2\n3,4\n"


def _zip(data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("logs.csv", data)
    return stream.getvalue()


def _parquet(data: bytes) -> bytes:
    stream = io.BytesIO()
    pl.read_csv(data).write_parquet(stream)
    return stream.getvalue()


def _size(value: str | bytes) -> str | None:
    """The name of a case: archives hold the time they were made, so no two runs would agree on it."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TEXT),
        ("a.csv", b"\xef\xbb\xbf" + TEXT),
        ("a.csv", TEXT.replace(b"\n", b"\r\n")),
        ("a.csv", b'"user","item"\n'),
        ("a.csv", b"user,item"),
        ("a.csv.gz", gzip.compress(TEXT)),
    ],
    ids=_size,
)
def test_the_names_of_a_header_in_any_right_form(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_header(tmp_path / name) == ["user", "item"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "expected a header line with column names, the file is empty"),
        ("a.csv.gz", b"", "expected a header line with column names, the file is empty"),
        ("a.csv", b"\n1,2\n", "expected a header line with column names, the first line is empty"),
        ("a.csv", b"\xe9,b\n", "expected UTF-8 text with a header line. Convert it, e.g. with iconv"),
        ("a.csv", TEXT.decode().encode("utf-16"), "it is UTF-16 text. Convert it: iconv"),
        ("a.csv", TEXT.decode().encode("utf-16-le"), "it looks like UTF-16. Convert it: iconv"),
        ("a.csv", TEXT.decode().encode("utf-16-be"), "it looks like UTF-16. Convert it: iconv"),
        (
            "a.csv.gz",
            gzip.compress(TEXT.decode().encode("utf-16")),
            "it looks like UTF-16. Convert it",
        ),
        ("a.csv", b"user,it\0em\n", "its first line holds NUL bytes. Is it a CSV file?"),
        ("a.csv", TEXT.replace(b"\n", b"\r"), "they end in CR alone. Convert it: tr"),
        ("a.csv", b"x" * (LONGEST_HEADER + 5), "the first line is longer than 1,048,576 bytes"),
        ("a.csv", gzip.compress(TEXT), "it is gzip-compressed. Name it with .gz at the end"),
        ("a.csv", _zip(TEXT), "it is a ZIP archive or a spreadsheet. Unpack it"),
        ("a.csv", _parquet(TEXT), "it is Parquet. Name it with .parquet at the end"),
        ("a.csv", bz2.compress(TEXT), "it is bzip2-compressed. Decompress it"),
        ("a.csv", lzma.compress(TEXT), "it is xz-compressed. Decompress it"),
        ("a.csv.gz", TEXT, "expected gzip by its name, but it is not compressed. Name it without .gz"),
        ("a.csv.gz", _zip(TEXT), "it is a ZIP archive or a spreadsheet"),
        ("a.csv.gz", gzip.compress(TEXT)[:12], "cannot be read as CSV (Compressed file ended"),
    ],
    ids=_size,
)
def test_a_file_that_is_no_such_csv_is_named_with_what_it_is_and_what_to_do(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_header(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_form_of_a_file_without_a_header_line_is_checked_alone(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xe9,any\rthing")
    check_form(path)
    path.write_bytes(gzip.compress(TEXT))
    with pytest.raises(UserError, match="gzip-compressed"):
        check_form(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.csv: cannot be read as CSV .*No such file"):
        read_header(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("delimiter", "name"), [(";", '";"'), ("\t", "tabs"), ("|", '"|"'), ("\x01", "Hive")]
)
def test_another_delimiter_is_named_and_the_command_given_converts_the_file(tmp_path, delimiter, name):
    path = tmp_path / "a.csv"
    rows = [["user", "item", "note"], ["1", "2", "a,b"], ["3", "4", f"c{delimiter}d"]]
    with path.open("w", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)
    text = str(missing_column(path, "user", read_header(path)))
    assert text.startswith(f'{path}: column "user" is missing; the file looks delimited by ')
    assert name in text
    command = text[text.index("python -c") :].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    with (tmp_path / "converted.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == rows


def test_a_missing_column_comes_with_the_nearest_name_and_a_hint_at_spaces():
    assert 'did you mean "prise"? The file has: user, prise.' in str(
        missing_column(Path("a.csv"), "price", ["user", "prise"])
    )
    assert "its name in the file has spaces around it" in str(
        missing_column(Path("a.csv"), "item", ["user", " item"])
    )


def test_a_message_does_not_list_thousands_of_columns():
    text = str(missing_column(Path("a.csv"), "price", [f"column{n}" for n in range(5000)]))
    assert "(5000 columns)" in text
    assert len(text) < 600
