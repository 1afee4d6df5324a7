"""What a CSV file holds, byte by byte in plain Python: an oracle for what `rmtl_tf/data/lines.py` says."""

from __future__ import annotations

from collections.abc import Sequence


class BrokenRowError(Exception):
    """A text that is no row; the argument is the reason."""


def fields_of(text: bytes, strict: bool = False) -> list[bytes]:
    """The values of one row."""
    fields, value, quoted, closed = [], b"", False, False
    fresh = True
    place = 0
    while place < len(text):
        byte = text[place : place + 1]
        place += 1
        if quoted:
            if byte != b'"':
                value += byte
            elif text[place : place + 1] == b'"':
                value, place = value + b'"', place + 1
            else:
                quoted, closed = False, True
        elif byte == b",":
            fields.append(value)
            value, fresh, closed = b"", True, False
            continue
        elif byte in b"\r\n" or (closed and strict):
            raise BrokenRowError("unparsable row")
        elif byte == b'"' and fresh:
            quoted = True
        else:
            value, closed = value + byte, False
        fresh = False
    if quoted:
        raise BrokenRowError("unclosed quote")
    return [*fields, value]


def row_of(text: bytes, width: int, strict: bool = False) -> list[bytes]:
    fields = fields_of(text, strict)
    if len(fields) != width:
        raise BrokenRowError("wrong number of fields")
    return fields


def read(
    data: bytes, header: Sequence[str], columns: Sequence[str], max_lines: int, max_line: int
) -> tuple[list[tuple], list[tuple]]:
    """Rows (line, value, ...) and bad lines (line, reason, column, value) below the header line."""
    lines = data.split(b"\n")[1:]
    if lines and not lines[-1]:
        lines.pop()
    texts = [line.removesuffix(b"\r") for line in lines]
    rows: list[tuple] = []
    bad: list[tuple] = []
    at = 0
    while at < len(lines):
        number, first, last = at + 2, at, at
        at += 1
        if len(lines[first]) > max_line:
            bad.append((number, "line too long", "", shown(lines[first][:max_line])))
            continue
        if not texts[first]:
            continue
        try:
            fields = row_of(texts[first], len(header))
        except BrokenRowError as problem:
            fields = []
            if texts[first].count(b'"') % 2:
                fields, last = joined(lines, first, len(header), max_lines, max_line)
            if not fields:
                bad.append((number, str(problem), "", shown(texts[first])))
                continue
        at = last + 1
        values = [fields[header.index(column)] for column in columns]
        wrong = [pair for pair in zip(columns, values, strict=True) if not is_text(pair[1])]
        if wrong:
            bad.append((number, "invalid UTF-8", wrong[0][0], shown(wrong[0][1])))
        else:
            rows.append((number, *(value.decode() for value in values)))
    return rows, bad


def joined(
    lines: list[bytes], first: int, width: int, max_lines: int, max_line: int
) -> tuple[list[bytes], int]:
    """The row that goes on to the next line with an odd number of quotes, and that line; [] if it is none."""
    for last in range(first + 1, min(first + max_lines, len(lines))):
        if len(lines[last]) > max_line:
            break
        if lines[last].count(b'"') % 2:
            text = b"\n".join(lines[first : last + 1]).removesuffix(b"\r")
            try:
                return (row_of(text, width, strict=True), last) if len(text) <= max_line else ([], first)
            except BrokenRowError:
                break
    return [], first


def is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def shown(value: bytes) -> str:
    return value[:800].decode(errors="backslashreplace")
