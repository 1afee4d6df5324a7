"""Tables that a benchmark writes into a page of the documentation, between marks of its own."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "docs" / "models.md"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; a column whose name ends with a space is aligned to the right."""
    rule = ["---:" if name.endswith(" ") else "---" for name in header]
    lines = [[name.strip() for name in header], rule, *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def section(text: str, name: str) -> str:
    """What stands between the marks `<!-- generated: name -->` and `<!-- end: name -->`.

    Raises:
        ValueError: the text has not exactly one such pair.
    """
    found = _pattern(name).findall(text)
    if len(found) != 1:
        raise ValueError(f"expected one section {name!r} between its marks, received {len(found)}")
    return found[0][1].strip("\n")


def rewrite(text: str, name: str, content: str) -> str:
    """`text` with another content of the section `name`; all else stays.

    Raises:
        ValueError: as in `section`.
    """
    section(text, name)
    return _pattern(name).sub(lambda match: f"{match[1]}\n{content}\n{match[3]}", text)


def _pattern(name: str) -> re.Pattern[str]:
    mark = re.escape(name)
    return re.compile(rf"(<!-- generated: {mark} -->)\n(.*?)(<!-- end: {mark} -->)", re.DOTALL)


def machine() -> str:
    """Where and when the figures were measured, in one sentence."""
    import tensorflow as tf

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"Measured on {today} on {os.cpu_count()} cores of {_processor()}, {memory:.0f} GiB, no GPU, "
        f"TensorFlow {tf.__version__}, Python {platform.python_version()}."
    )


def busy(load: float) -> str:
    """A warning where `load`, the load average before the measurement, says that other work was running."""
    if load < 0.5:
        return ""
    return f" Other work was running (load average {load:.1f} before): absolute speeds are too low."


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
