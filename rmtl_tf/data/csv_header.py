"""The first line of a CSV file, and what a file is that has none: another format, encoding or delimiter."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

from rmtl_tf.errors import UserError, from_system, nearest

BOM = b"\xef\xbb\xbf"
LONGEST_HEADER = 1 << 20  # bytes

_GZIP = b"\x1f\x8b"
# The first bytes of a file, what it is, what to do.
_OTHER_FORMS = (
    (_GZIP, "gzip-compressed", "Name it with .gz at the end"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet", "Unpack it, or save it as CSV"),
    (b"PAR1", "Parquet", "Name it with .parquet at the end"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "Decompress it, or compress it with gzip"),
    (b"\xfd7zXZ\x00", "xz-compressed", "Decompress it, or compress it with gzip"),
    (b"BZh91AY", "bzip2-compressed", "Decompress it, or compress it with gzip"),
    (b"\xff\xfe", "UTF-16 text", "Convert it: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "Convert it: iconv -f UTF-16 -t UTF-8"),
)
_OTHER_DELIMITERS = {";": '";"', "\t": "tabs", "|": '"|"', "\x01": "the character 1 (Hive's)"}
_SHOWN = 300  # characters of a header in a message


def open_bytes(path: Path) -> io.BufferedIOBase:
    """The bytes of a CSV file; decompressed where its name ends in `.gz`."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return path.open("rb")


def check_form(path: Path) -> None:
    """Refuses a file whose first bytes are those of another format.

    Raises:
        UserError: says what the file is and what to do; or it cannot be opened.
    """
    try:
        with path.open("rb") as stream:
            first = stream.read(8)
    except OSError as error:
        raise _unreadable(path, error) from None
    compressed = path.suffix == ".gz"
    if compressed and (first.startswith(_GZIP) or not first):
        return
    for magic, form, action in _OTHER_FORMS:
        if first.startswith(magic):
            raise UserError(f"{path}: expected CSV text by its name, but it is {form}. {action}.")
    if compressed:
        raise UserError(
            f"{path}: expected gzip by its name, but it is not compressed. Name it without "
            ".gz, or compress it."
        )


def read_header(path: Path) -> list[str]:
    """The column names of a CSV file (plain, or gzip by its name).

    Raises:
        UserError: the file cannot be read, is empty, is of another format, or is not UTF-8.
    """
    check_form(path)
    try:
        with open_bytes(path) as stream:
            line = stream.readline(LONGEST_HEADER + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None
    _check_text(path, line)
    try:
        names = next(csv.reader([line.removeprefix(BOM).decode().rstrip("\r\n")]), [])
    except UnicodeDecodeError:
        raise UserError(
            f"{path}: expected UTF-8 text with a header line. Convert it, e.g. with iconv."
        ) from None
    except csv.Error as error:
        raise _unreadable(path, error) from None
    if not any(names):
        found = "the first line" if line else "the file"
        raise UserError(f"{path}: expected a header line with column names, {found} is empty.")
    return names


def missing_column(path: Path, column: str, header: Sequence[str]) -> UserError:
    """The error of a file whose header lacks a column: says why, where a look at the names shows it."""
    start = f'{path}: column "{column}" is missing; '
    text = ",".join(header)
    for delimiter, name in _OTHER_DELIMITERS.items():
        if column in (part.strip(' "') for part in text.split(delimiter)):
            return UserError(
                f"{start}the file looks delimited by {name}, expected commas. Convert it, for example: "
                f'python -c "import csv, sys; csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, '
                f'delimiter={delimiter!r}))" < {path.name} > converted.csv'
            )
    if column in (name.strip() for name in header):
        return UserError(f"{start}its name in the file has spaces around it. Remove them from the header.")
    shown = ", ".join(header)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}... ({len(header)} columns)"
    return UserError(
        f"{start}{nearest(column, header) if len(shown) <= _SHOWN else ''} The file has: {shown}. "
        "Rename the column, or change the schema."
    )


def _check_text(path: Path, line: bytes) -> None:
    inside = line.rstrip(b"\r\n")
    if b"\0" in inside:
        wide = max(inside[::2].count(0), inside[1::2].count(0)) > len(inside) // 4
        raise UserError(
            f"{path}: expected UTF-8 text, but it looks like UTF-16. Convert it: iconv -f UTF-16LE -t UTF-8 "
            "(or UTF-16BE)."
            if wide
            else f"{path}: expected UTF-8 text, but its first line holds NUL bytes. Is it a CSV file?"
        )
    if b"\r" in inside and b"\n" not in line:
        raise UserError(
            f"{path}: expected lines that end in LF or CR LF, but they end in CR alone. Convert it: "
            "tr '\\r' '\\n'."
        )
    if len(line) > LONGEST_HEADER:
        raise UserError(
            f"{path}: expected a header line, but the first line is longer than {LONGEST_HEADER:,} bytes. "
            "Is it a CSV file with a line for each row?"
        )


def _unreadable(path: Path, error: Exception) -> UserError:
    return from_system(error, path) or UserError(f"{path}: cannot be read as CSV ({error}).")
