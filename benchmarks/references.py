"""Papers and equation numbers of the methods, read from `References:` in their docstrings: written once."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

_HEADING = re.compile(r"^(References|Source):[ \t]*", re.MULTILINE)
# Up to the year, and the arXiv number where one follows: all after it says where, or read where.
_PAPER = re.compile(r"^(.*?\b(?:19|20)\d\d\b(?:, arXiv \d{4}\.\d{4,5})?)[\s,.:;]*(.*)$")


class Reference(NamedTuple):
    """A paper, and where in it (or in which code) the equations stand; both may be empty."""

    paper: str
    place: str


def reference(method: type) -> Reference:
    """Of a class: the paragraph under `References:` of its docstring, or of the nearest base that has one."""
    for kind in inspect.getmro(method):
        text = paragraph(kind.__dict__.get("__doc__"))
        if text:
            return split(text)
    return Reference("", "")


def paragraph(docstring: str | None) -> str:
    """What follows `References:` (or `Source:`) up to an empty line, in one line."""
    text = inspect.cleandoc(docstring or "")
    found = _HEADING.search(text)
    return " ".join(text[found.end() :].split("\n\n")[0].split()) if found else ""


def split(text: str) -> Reference:
    """`Ma et al., KDD 2018, equations 1-3` as (`Ma et al., KDD 2018`, `equations 1-3`)."""
    found = _PAPER.match(text)
    if found is None:
        return Reference(text.rstrip("."), "")
    return Reference(found[1], found[2].rstrip("."))


def summary(method: type) -> str:
    """First sentence of the docstring."""
    text = " ".join(inspect.cleandoc(method.__doc__ or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", text)[0]
