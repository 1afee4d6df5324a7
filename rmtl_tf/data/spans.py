"""Parts of files that are parsed by themselves: byte ranges of plain CSV, row groups of Parquet.

A range of a CSV file may begin wherever no quoted value can still be open: after `MAX_LINES` lines with an
even number of quotes, because a value that goes on over several lines ends within that many, on a line with
an odd number (`lines.py`). So every range can be found from its nominal place alone, and reads as it would in
the whole file. A compressed file is one range.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmtl_tf.data import lines, parquet
from rmtl_tf.data.lines import MAX_LINES, Block

SPAN_SIZE = 16 << 20  # bytes of a plain CSV file
_STEP = 1 << 20


@dataclass(frozen=True)
class Span:
    """A part of a file.

    Attributes:
        file: the file's number in the run.
        number: its place among the parts of the file, from 0.
        begin, end: bytes of a CSV file (end None: to its end), or row groups of a Parquet file.
        line: the number of its first line (or row); 0 where it is not known yet.
    """

    file: int
    number: int
    begin: int
    end: int | None
    line: int = 0


def read_names(path: Path) -> list[str]:
    """The column names of a file.

    Raises:
        UserError: it cannot be read.
    """
    return parquet.read_names(path) if parquet.is_parquet(path) else lines.read_header(path)


def nominal_spans(path: Path, file: int, span_size: int) -> list[Span]:
    """The parts of a file by its size alone; `settle` moves those of plain CSV to the beginning of lines."""
    if parquet.is_parquet(path):
        rows = parquet.row_groups(path)
        first = np.cumsum([1, *rows]).tolist()
        return [Span(file, group, group, group + 1, first[group]) for group in range(len(rows))]
    size = path.stat().st_size
    if path.suffix == ".gz" or size <= span_size:
        return [Span(file, 0, 0, None)]
    starts = range(0, size, span_size)
    return [Span(file, number, begin, min(begin + span_size, size)) for number, begin in enumerate(starts)]


def settle(path: Path, span: Span) -> tuple[Span, int]:
    """Moves the ends of a nominal part to the beginning of lines, and counts the line breaks in it."""
    if span.end is None or parquet.is_parquet(path):
        return span, 0
    with path.open("rb") as stream:
        begin, end = (_line_start(stream, place) for place in (span.begin, span.end))
        return Span(span.file, span.number, begin, end), _count_breaks(stream, begin, end)


def number_lines(settled: Sequence[tuple[Span, int]]) -> list[Span]:
    """Parts of one file, in any order, with the number of their first line; empty ones are left out."""
    settled = sorted(settled, key=lambda pair: pair[0].number)
    first = np.cumsum([1, *(breaks for _, breaks in settled)]).tolist()
    return [
        Span(span.file, span.number, span.begin, span.end, span.line or line)
        for (span, _), line in zip(settled, first, strict=False)
        if span.end is None or span.end > span.begin
    ]


def read_span(
    path: Path, span: Span, columns: Sequence[str], block_size: int, header: Sequence[str] = ()
) -> Iterator[Block]:
    """The rows of a settled and numbered part, in blocks; `header` names the columns where no line does.

    Raises:
        UserError: the file cannot be read to its end.
    """
    if parquet.is_parquet(path):
        return parquet.read_blocks(path, columns, span.begin, span.end or 0, span.line)
    return lines.read_blocks(
        path, columns, block_size, header, begin=span.begin, end=span.end, line=span.line
    )


def input_bytes(paths: Sequence[Path]) -> int:
    """About how many bytes the files are as plain CSV."""
    growth = {".gz": 5, ".parquet": 4}
    return sum(path.stat().st_size * growth.get(path.suffix, 1) for path in paths)


def _line_start(stream: io.BufferedReader, place: int) -> int:
    """The first line after byte `place` before which no quoted value can be open; else the end."""
    size = stream.seek(0, io.SEEK_END)
    if place == 0 or place >= size:
        return min(place, size)
    stream.seek(place)
    data = b""
    while more := stream.read(_STEP):
        data += more
        breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        quotes = np.flatnonzero(np.frombuffer(data, np.uint8) == ord('"'))
        odd = np.diff(np.searchsorted(quotes, breaks)) % 2
        # The last `MAX_LINES` lines before each line, without the first, which `place` cut.
        recent = np.convolve(odd, np.ones(MAX_LINES, np.int64), "valid") if odd.size >= MAX_LINES else odd[:0]
        safe = np.flatnonzero(recent == 0)
        if safe.size:
            return place + int(breaks[safe[0] + MAX_LINES]) + 1
    return size


def _count_breaks(stream: io.BufferedReader, begin: int, end: int) -> int:
    stream.seek(begin)
    breaks = 0
    while begin < end and (data := stream.read(min(_STEP, end - begin))):
        breaks += data.count(b"\n")
        begin += len(data)
    return breaks
