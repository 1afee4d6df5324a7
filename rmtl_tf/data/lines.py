"""CSV bytes to rows with their line numbers, in blocks; what cannot be read costs one line, not the file.

A CSV reader that meets a stray quote reads on to the next one, however far, and does not know any more on
which line it is. A block without quotes goes to pyarrow's reader as it stands. In any other, numpy first
finds the lines and the delimiters outside quotes in each. Lines that are plainly right go to pyarrow's reader
together. The few others are looked at one by one: a quoted
value may go on over several lines, but where that does not give the right number of fields within
`MAX_LINES`, only the line it starts on is bad.

Line numbers are those of an editor: the header is line 1; a row over several lines has the number of its
first. Nothing depends on the size of the blocks.

Of a line longer than `MAX_LINE` only its beginning is kept, so a file without line breaks costs no memory. It
is bad, and lies between what is before it and after it as the end of a file does: no value goes on over it.
Nor is a row over several lines longer than that.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv

from rmtl_tf.data.csv_header import BOM, open_bytes, read_header
from rmtl_tf.data.datasets.base import LINE
from rmtl_tf.errors import UserError, from_system

BLOCK_SIZE = 8 << 20  # bytes
MAX_LINES = 100
MAX_LINE = 4 << 20  # bytes without the line feed

_NEWLINE, _RETURN, _QUOTE, _COMMA = b'\n\r",'
_SHOWN = 800  # bytes of a bad line


@dataclass(frozen=True)
class BadLine:
    """A line that gives no row: its number, why, the column it is about (or none) and what it holds."""

    line: int
    reason: str
    column: str
    value: str


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a file.

    Attributes:
        rows: `LINE` and the wanted columns, all strings, "" where nothing stands; in line order.
        bad: the lines that could not be read.
    """

    rows: pl.DataFrame
    bad: list[BadLine]

    @property
    def read(self) -> int:
        return self.rows.height + len(self.bad)


def read_blocks(
    path: Path,
    columns: Sequence[str],
    block_size: int = BLOCK_SIZE,
    header: Sequence[str] = (),
    *,
    begin: int = 0,
    end: int | None = None,
    line: int = 1,
    max_line: int = MAX_LINE,
) -> Iterator[Block]:
    """The rows of a CSV file whose header has every one of `columns`.

    Args:
        header: the names of the columns where the first line is a row.
        begin, end: the bytes to read (`spans.py`), the first line among them at 0. Not of a compressed file.
        line: the number of the line that begins at `begin`.
        max_line: bytes of the longest line and the longest row that are read.

    Raises:
        UserError: the file ends in the middle of its compressed data.
    """
    # Python's own limit of a field would make it matter which way a line is read.
    csv.field_size_limit(max(max_line, csv.field_size_limit()))
    parser = _Parser(tuple(header or read_header(path)), tuple(columns), max_line)
    try:
        with open_bytes(path) as stream:
            if begin:
                stream.seek(begin)
            elif not header:
                begin, line = len(stream.readline()), line + 1
            else:
                begin = len(BOM) if stream.read(len(BOM)) == BOM else 0
                stream.seek(begin)
            pieces = _read_pieces(stream, block_size, None if end is None else end - begin)
            for block in _parse_pieces(parser, pieces, line):
                if block.read:
                    yield block
    except (OSError, EOFError, zlib.error) as error:
        raise from_system(error, path) or UserError(
            f"{path}: cannot be read to its end ({error}). Is the file complete?"
        ) from None


def _read_pieces(stream: BufferedIOBase, size: int, left: int | None) -> Iterator[tuple[bytes, bool]]:
    """The next `left` bytes (None: all), at most `size` at a time, and whether they are the last."""
    final = False
    while not final:
        wanted = size if left is None else min(size, left)
        data = stream.read(wanted)
        left = None if left is None else left - len(data)
        final = len(data) < wanted or left == 0 or not wanted
        yield data, final


def _parse_pieces(parser: _Parser, pieces: Iterator[tuple[bytes, bool]], number: int) -> Iterator[Block]:
    """Blocks of rows, and of the lines too long to be rows; `number` is that of the first line."""
    carry, inside = b"", False
    for piece, final in pieces:
        data = carry + piece
        while True:
            if inside:
                # Of a line too long, already reported.
                past = data.find(b"\n") + 1
                inside = not past
                data, number = data[past:] if past else b"", number + (past > 0)
            place = _too_long(data, parser.max_line)
            if place is None:
                break
            block, _, lines = parser.parse(data[:place], number, True)
            number += lines
            shown = _text(data[place : place + parser.max_line])
            yield Block(block.rows, [*block.bad, BadLine(number, "line too long", "", shown)])
            data, inside = data[place + parser.max_line + 1 :], True
        block, used, lines = parser.parse(data, number, final)
        carry, number = data[used:], number + lines
        yield block


def _too_long(data: bytes, most: int) -> int | None:
    """Where the first line longer than `most` begins; `data` begins with a line and may end inside one."""
    place = 0
    while len(data) - place > most:
        found = data.rfind(b"\n", place, place + most + 1)
        if found < 0:
            return place
        place = found + 1
    return None


@dataclass
class _Lines:
    """Where the lines of a block are: line i is data[start[i]:end[i]], without its line break."""

    start: np.ndarray
    end: np.ndarray
    next: np.ndarray  # where line i + 1 starts
    odd: np.ndarray  # has an odd number of quotes
    plain: np.ndarray  # can go to pyarrow as it stands


@dataclass
class _Careful:
    """What the lines that were looked at one by one gave."""

    lines: list[int] = field(default_factory=list)
    fields: list[list[str]] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


@dataclass(frozen=True)
class _Parser:
    header: tuple[str, ...]
    columns: tuple[str, ...]
    max_line: int

    def parse(self, data: bytes, number: int, final: bool) -> tuple[Block, int, int]:
        """The rows at the beginning of `data`, whose first line has this number.

        Returns:
            The block, how many bytes of `data` it took and how many lines these are. What is left may
            go on in the bytes that follow.
        """
        if (clean := self._read_clean(data, number, final)) is not None:
            return clean
        lines = _find_lines(data, final, len(self.header))
        careful, stop = self._read_carefully(data, lines, number, final)
        lines.plain[stop:] = False
        plain = np.flatnonzero(lines.plain)
        rows = self._read_plainly(data, lines, plain).with_columns(pl.Series(LINE, plain + number, pl.Int64))
        if careful.lines:
            values = zip(*careful.fields, strict=True)
            extra = pl.DataFrame(dict(zip(self.columns, map(list, values), strict=True)))
            extra = extra.with_columns(pl.Series(LINE, careful.lines, pl.Int64))
            rows = pl.concat([rows, extra]).sort(LINE)
        used = int(lines.next[stop - 1]) if stop else 0
        return Block(rows, careful.bad), used, stop

    def _read_clean(self, data: bytes, number: int, final: bool) -> tuple[Block, int, int] | None:
        """What `parse` gives, fast, where all lines are plainly right; None where one may not be."""
        used = len(data) if final else data.rfind(b"\n") + 1
        if len(self.header) == 1 or data.find(b'"', 0, used) >= 0:
            return None
        if b"\r" in data and data.count(b"\r", 0, used) != data.count(b"\r\n", 0, used):
            return None
        lines = data.count(b"\n", 0, used)
        lines += used > 0 and data[used - 1] != _NEWLINE
        if not lines:
            return Block(self._no_rows().with_columns(pl.lit(0).alias(LINE)), []), used, 0
        try:
            rows = self._read_csv(data, used, check_utf8=True)
        except pa.ArrowInvalid:
            return None
        if rows.height != lines:
            return None
        numbers = pl.int_range(number, number + lines, dtype=pl.Int64, eager=True)
        return Block(rows.with_columns(numbers.alias(LINE)), []), used, lines

    def _read_plainly(self, data: bytes, lines: _Lines, plain: np.ndarray) -> pl.DataFrame:
        if not plain.size:
            return self._no_rows()
        runs = np.split(plain, np.flatnonzero(np.diff(plain) != 1) + 1)
        text = b"".join(data[lines.start[run[0]] : lines.next[run[-1]]] for run in runs)
        rows = self._read_csv(text, len(text), check_utf8=False)
        if rows.height != plain.size:
            raise RuntimeError(f"expected {plain.size} rows of plain lines, pyarrow read {rows.height}")
        return rows

    def _no_rows(self) -> pl.DataFrame:
        return pl.DataFrame(schema=dict.fromkeys(self.columns, pl.String))

    def _read_csv(self, text: bytes, size: int, check_utf8: bool) -> pl.DataFrame:
        """The wanted columns of the first `size` bytes of plain lines, as strings."""
        if text.startswith(BOM):
            # Only the first line of a file has a byte-order mark; pyarrow would take one from any block.
            text, size = b"\n" + text[:size], size + 1
        table = pyarrow.csv.read_csv(
            pa.py_buffer(text).slice(0, size),
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, column_names=_unique(self.header), block_size=size + 1
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=False, ignore_empty_lines=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self.columns, pa.large_string()),
                include_columns=list(self.columns),
                strings_can_be_null=False,
                check_utf8=check_utf8,
            ),
        )
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _read_carefully(self, data: bytes, lines: _Lines, number: int, final: bool) -> tuple[_Careful, int]:
        """Reads the lines that are not plain; the number of lines after which the block must stop."""
        result, count = _Careful(), lines.start.size
        odd = np.flatnonzero(lines.odd)
        past = 0
        for line in np.flatnonzero(~lines.plain & (lines.end > lines.start)).tolist():
            if line < past:
                continue
            last = line
            fields, problem = self._split(data[lines.start[line] : lines.end[line]])
            if fields is None and lines.odd[line]:
                later = odd[np.searchsorted(odd, line, side="right") :]
                most = lines.start[line] + self.max_line
                if later.size and later[0] - line < MAX_LINES and lines.end[later[0]] <= most:
                    joined, _ = self._split(data[lines.start[line] : lines.end[later[0]]], strict=True)
                    if joined is not None:
                        fields, last = joined, int(later[0])
                elif not (later.size or final) and count - line < MAX_LINES and lines.end[-1] <= most:
                    return result, line
            if fields is None:
                text = _text(data[lines.start[line] : lines.end[line]])
                result.bad.append(BadLine(line + number, problem, "", text))
            else:
                self._keep(result, line + number, fields)
            lines.plain[line : last + 1] = False
            past = last + 1
        return result, count

    def _split(self, row: bytes, strict: bool = False) -> tuple[list[str] | None, str]:
        """The fields of one row, or None and what is wrong with it.

        Strictly, nothing stands between a closing quote and the end of its value: two lines with a stray
        quote each do not make one row of all between them.
        """
        try:
            # The last field shows whether all quotes were closed before it.
            fields = next(csv.reader([row.decode(errors="surrogateescape") + ",."], strict=strict), [])
        except csv.Error:
            return None, "unparsable row"
        if fields.pop() != ".":
            return None, "unclosed quote"
        return (fields, "") if len(fields) == len(self.header) else (None, "wrong number of fields")

    def _keep(self, result: _Careful, line: int, fields: list[str]) -> None:
        wanted = [fields[self.header.index(column)] for column in self.columns]
        for column, value in zip(self.columns, wanted, strict=True):
            if any("\udc80" <= character <= "\udcff" for character in value):
                text = _text(value.encode(errors="surrogateescape"))
                result.bad.append(BadLine(line, "invalid UTF-8", column, text))
                return
        result.lines.append(line)
        result.fields.append(wanted)


def _find_lines(data: bytes, final: bool, width: int) -> _Lines:
    buffer = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(buffer == _NEWLINE)
    after = breaks + 1
    if final and data and data[-1] != _NEWLINE:
        breaks, after = np.append(breaks, len(data)), np.append(after, len(data))
    buffer = buffer[: after[-1]] if after.size else buffer[:0]
    start = np.concatenate([[0], after[:-1]]).astype(np.int64)[: after.size]
    returned = (breaks > start) & (buffer[np.maximum(breaks - 1, 0)] == _RETURN)
    end = breaks - returned
    quotes = np.flatnonzero(buffer == _QUOTE)
    quotes_before = np.searchsorted(quotes, start)
    odd = (np.searchsorted(quotes, end) - quotes_before) % 2 == 1

    commas = np.flatnonzero(buffer == _COMMA)
    comma_line = np.searchsorted(breaks, commas)
    quoted = (np.searchsorted(quotes, commas) - quotes_before[comma_line]) % 2 == 1
    delimiters = np.bincount(comma_line[~quoted], minlength=start.size)

    plain = ~odd & (delimiters == width - 1) & (end > start)
    # A quote opens a value only at its beginning; elsewhere it is a character like any other.
    quote_line = np.searchsorted(breaks, quotes)
    opening = (np.arange(quotes.size) - quotes_before[quote_line]) % 2 == 0
    before = buffer[np.maximum(quotes - 1, 0)]
    at_start = (quotes == start[quote_line]) | (before == _COMMA) | (before == _QUOTE)
    plain[quote_line[opening & ~at_start]] = False
    returns = np.flatnonzero(buffer == _RETURN)
    return_line = np.searchsorted(breaks, returns)
    plain[return_line[returns < end[return_line]]] = False
    plain[_not_utf8(data, buffer, start, end, breaks)] = False
    return _Lines(start, end, after, odd, plain)


def _not_utf8(
    data: bytes, buffer: np.ndarray, start: np.ndarray, end: np.ndarray, breaks: np.ndarray
) -> list[int]:
    try:
        data[: buffer.size].decode()
    except UnicodeDecodeError:
        lines = np.unique(np.searchsorted(breaks, np.flatnonzero(buffer >= 0x80))).tolist()
        return [line for line in lines if not _decodes(data[start[line] : end[line]])]
    return []


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(value: bytes) -> str:
    return value[:_SHOWN].decode(errors="backslashreplace")


def _unique(header: Sequence[str]) -> list[str]:
    """Names for pyarrow, which takes no name twice: a column nobody asked for may share its name."""
    seen: set[str] = set()
    return [name if not (name in seen or seen.add(name)) else f"{name}#{i}" for i, name in enumerate(header)]  # type: ignore[func-returns-value]
