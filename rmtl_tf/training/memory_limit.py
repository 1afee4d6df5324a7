"""Whether a training fits into memory: what there is, what it needs, and what to change where it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from rmtl_tf.errors import UserError
from rmtl_tf.features.compression import Layout
from rmtl_tf.features.ids import FIRST_ID
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.training.memory import FLOAT, Estimate

log = logging.getLogger(__name__)

GIB, MIB = 2**30, 2**20
_FEWEST_ROWS = 1000  # a cap below is no advice: then it is not the tables
_LIMIT = ("memory.max", "memory.limit_in_bytes")  # cgroup 2, cgroup 1
_USED = ("memory.current", "memory.usage_in_bytes")
_CACHE = ("inactive_file", "total_inactive_file")


def check_memory(needed: Estimate, spec: InputSpec, stop: bool = True) -> dict[str, Any]:
    """Logs what training needs, and refuses what does not fit.

    Args:
        spec: the inputs.
        stop: False: only warn.

    Returns:
        The same for `run.json`, in bytes.

    Raises:
        UserError: the estimated peak is above what is available; it says by input what to change.
    """
    free = available()
    log.info("%s", table(needed, free))
    if needed.peak() > free:
        if stop:
            raise UserError(advice(needed, spec, free))
        log.warning("%s", advice(needed, spec, free))
    return {
        "tables": [
            {"feature": name, "rows": rows, "width": needed.width, "bytes": FLOAT * rows * needed.width}
            for name, rows in needed.tables.items()
        ],
        "stages": [
            {
                "name": stage.name,
                "bytes": stage.bytes(needed.rows),
                "copies": {part.what: part.copies for part in stage.parts},
            }
            for stage in needed.stages
        ],
        "batches": needed.batches,
        "peak": needed.peak(),
        "available": free,
    }


def available(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that this process can still have: of the machine, and of its control groups (containers).

    Args:
        root: where control groups are mounted.
        own: says in which of them this process is.
    """
    limits = [free for group in _groups(root, own) for free in _free(group)]
    return min([psutil.virtual_memory().available, *limits])


def _groups(root: Path, own: Path) -> list[Path]:
    """Folders of the memory controls this process is under, its own and all above."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = [root, root / "memory"]  # a container sees its own group there
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        base = root if controllers == "" else root / "memory"
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [base.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    return found


def _free(group: Path) -> list[int]:
    """What a control group leaves; nothing where it sets no limit. Cached files count as free."""
    for limit_file, used_file, cache in zip(_LIMIT, _USED, _CACHE, strict=True):
        try:
            limit = (group / limit_file).read_text(encoding="ascii").strip()
            used = int((group / used_file).read_text(encoding="ascii"))
            statistics = (group / "memory.stat").read_text(encoding="ascii").split("\n")
        except (OSError, ValueError):
            continue
        if limit == "max":
            return []
        cached = dict(line.split() for line in statistics if line.count(" ") == 1)
        return [max(0, int(limit) - used + int(cached.get(cache, 0)))]
    return []


def table(needed: Estimate, free: int) -> str:
    """What a person reads before training starts."""
    names = [name for name, rows in needed.tables.items() if rows >= _FEWEST_ROWS]
    lines = ["Embedding tables, and the memory of training:"]
    rest = needed.rows - sum(needed.tables[name] for name in names)
    shown = [(name, needed.tables[name]) for name in names] + ([("smaller inputs", rest)] if rest else [])
    for name, rows in [*shown, ("all", needed.rows)]:
        size = FLOAT * rows * needed.width
        lines.append(f"  {name:<24}{rows:>14,} rows x {needed.width:>4} {_size(size):>12}")
    for stage in needed.stages:
        copies = ", ".join(f"{part.what} {part.copies:g}" for part in stage.parts)
        lines.append(f"  {stage.name:<40}{_size(stage.bytes(needed.rows)):>12}   copies: {copies}")
    lines.append(f"  {'peak, with records and batches':<40}{_size(needed.peak()):>12}")
    lines.append(f"  {'available':<40}{_size(free):>12}")
    return "\n".join(lines)


def advice(needed: Estimate, spec: InputSpec, free: int) -> str:
    """What does not fit, and each change that alone would make it fit."""
    worst = max(needed.stages, key=lambda stage: stage.bytes(needed.rows))
    text = (
        f"memory: training needs {_size(needed.peak())} more at its peak (stage {worst.name}), expected at "
        f"most the {_size(free)} that are available. "
    )
    anyway = "training.memory=warn trains anyway."

    def fits(cap: int) -> bool:
        return needed.peak(sum(min(rows, cap) for rows in needed.tables.values())) <= free

    cap = _largest(fits, needed.rows)
    if cap < _FEWEST_ROWS:
        return text + (
            "The embedding tables are not what is too large: lower training.batch_size, the widths of model "
            "and training.critic, or the number of training.arms, or free memory. " + anyway
        )
    options = _smaller_tables({name: rows for name, rows in needed.tables.items() if rows > cap}, spec, cap)
    width = _largest(lambda width: needed.peak(needed.rows * width // needed.width) <= free, needed.width)
    if width:
        options.insert(0, f"model.embedding_dim={width} (now {needed.width})")
    listed = "".join(f"\n  {option}" for option in options)
    return f"{text}Any one of these makes it fit (docs/tables.md):{listed}\n{anyway}"


def _smaller_tables(large: Mapping[str, int], spec: InputSpec, cap: int) -> list[str]:
    """Ways to give the inputs `large`, {name: rows}, at most `cap` rows each."""
    options = []
    if all(spec.layout(name).ratio == 1 for name in large):
        own = cap // 2
        tops = [
            f"transform.features.{name}.top_k={cap - FIRST_ID} (now {rows - FIRST_ID} values)"
            for name, rows in large.items()
        ]
        mixed = [
            f"transform.features.{name}={{top_k: {own}, hash_buckets: {cap - FIRST_ID - own}}}"
            for name in large
        ]
        options = [f"{'; '.join(tops)}: rarer values unknown", f"{'; '.join(mixed)}: rarer values share rows"]
    ratios = {name: _ratio(spec.layout(name).size, cap) for name in large}
    if all(ratios.values()):
        chosen = ", ".join(f"{name}: {ratio}" for name, ratio in ratios.items())
        options.append(f"model.compression.features={{{chosen}}}")
    return options


def _ratio(size: int, cap: int) -> int:
    """The smallest ratio with which `size` ids have at most `cap` rows; 0: none has."""
    return next((ratio for ratio in range(2, 1 << 16) if Layout(size, ratio).rows <= cap), 0)


def _largest(good: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that is good, where all below a good one are; 0: none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if good(middle) else (low, middle - 1)
    return low


def _size(size: int) -> str:
    """In GiB, in MiB below a tenth of one."""
    return f"{size / GIB:.2f} GiB" if size >= GIB // 10 else f"{size / MIB:.2f} MiB"
