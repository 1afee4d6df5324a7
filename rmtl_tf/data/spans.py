"""Parts of files that are parsed by themselves: byte ranges of plain CSV, row groups of Parquet.

A range of a CSV file may begin wherever no quoted value can still be open: after `MAX_LINES` lines with an
even number of quotes, because a value that goes on over several lines ends within that many, on a line with
an odd number (`lines.py`). So every range is found from its nominal bytes alone and reads as it would in the
whole file. Nominal bytes without such a place (a very long line) belong to the range before. A compressed
file is one range.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Settled:
    """A nominal part after a look at its bytes.

    Attributes:
        span: the nominal part.
        begin: the first byte in it where a part may begin; None where there is none.
        before, after: line breaks in it up to that byte (None: all of them), and from there on.
    """

    span: Span
    begin: int | None
    before: int = 0
    after: int = 0


def settle(path: Path, span: Span) -> Settled:
    """Looks for the place in a nominal part where a part may begin, and counts line breaks."""
    if span.end is None or parquet.is_parquet(path):
        return Settled(span, span.begin)
    with path.open("rb") as stream:
        begin, before = _safe_place(stream, span.begin, span.end) if span.begin else (0, 0)
        after = 0 if begin is None else _count_breaks(stream, begin, span.end)
    return Settled(span, begin, before, after)


def number_lines(settled: Sequence[Settled]) -> list[Span]:
    """The parts of one file with the number of their first line, from its nominal parts in any order."""
    settled = sorted(settled, key=lambda part: part.span.number)
    parts: list[Span] = []
    line = 1
    for part in settled:
        line += part.before
        if part.begin is not None:
            if parts:
                parts[-1] = replace(parts[-1], end=part.begin)
            parts.append(replace(part.span, begin=part.begin, line=part.span.line or line))
        elif parts:
            parts[-1] = replace(parts[-1], end=part.span.end)
        line += part.after
    return parts


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


def _safe_place(stream: io.BufferedReader, begin: int, end: int) -> tuple[int | None, int]:
    """The first line in these bytes before which no quoted value can be open, and the line breaks before it.

    None where there is no such line, and then all line breaks.
    """
    stream.seek(begin)
    breaks_before, quotes_open = 0, 0
    last = np.zeros(0, np.int64)  # of the last `MAX_LINES - 1` lines: has an odd number of quotes
    while begin < end and (data := stream.read(min(_STEP, end - begin))):
        buffer = np.frombuffer(data, np.uint8)
        breaks = np.flatnonzero(buffer == ord("\n"))
        quotes = np.flatnonzero(buffer == ord('"'))
        until = np.searchsorted(quotes, breaks)
        odd = np.diff(until, prepend=-quotes_open) % 2
        last = np.concatenate([last, odd])
        if last.size >= MAX_LINES:
            recent = np.convolve(last, np.ones(MAX_LINES, np.int64), "valid")
            safe = np.flatnonzero(recent == 0)
            if safe.size:
                line = int(safe[0]) + MAX_LINES - 1 - (last.size - odd.size)
                return begin + int(breaks[line]) + 1, breaks_before + line + 1
        last = last[-(MAX_LINES - 1) :]
        quotes_open = quotes.size - int(until[-1]) if breaks.size else quotes_open + quotes.size
        breaks_before += breaks.size
        begin += len(data)
    return None, breaks_before


def _count_breaks(stream: io.BufferedReader, begin: int, end: int) -> int:
    stream.seek(begin)
    breaks = 0
    while begin < end and (data := stream.read(min(_STEP, end - begin))):
        breaks += data.count(b"\n")
        begin += len(data)
    return breaks
