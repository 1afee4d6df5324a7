"""Logs that grow: a folder or file a span, each read once, joined to one data set whose newest spans test.

`{SPAN}` in `data.path` stands for the name of a span, such as 2024-05-31 or 17. Every span is an ExampleGen
of its own, so a new day's logs cost a day's work; joining links files and adds up tables of statistics. No
session goes over the end of a span: what goes on behind it is a session of the next.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtl_tf.config import SpansConfig
from rmtl_tf.errors import UserError
from rmtl_tf.places import place
from rmtl_tf.schema import DataSchema

if TYPE_CHECKING:
    from rmtl_tf.data.statistics import Tables

PLACE = "{SPAN}"
SPANS = "spans"  # in statistics.json: the names of the spans, oldest first
_NAME = r"[A-Za-z0-9_-]+"


@dataclass(frozen=True)
class LogSpan:
    """The logs of one span: its name, and where they are."""

    name: str
    path: Path


def find_spans(pattern: str, config: SpansConfig) -> list[LogSpan]:
    """The newest `config.window` spans that fit a path with one `{SPAN}`, oldest first.

    Names that are whole numbers come in their order, others in that of their letters: write dates from the
    year down.

    Raises:
        UserError: `{SPAN}` stands more than once, or there are too few spans to train, validate and test.
    """
    if pattern.count(PLACE) != 1:
        raise UserError(f"data.path: expected {PLACE} once, received {pattern}.")
    before, after = pattern.split(PLACE)
    start, _, prefix = before.rpartition("/")
    suffix, _, rest = after.partition("/")
    folder = place(start or ("/" if before.startswith("/") else "."))
    fits = re.compile(re.escape(prefix) + f"({_NAME})" + re.escape(suffix))
    names = sorted(folder.iterdir(), key=lambda path: path.name) if folder.is_dir() else []
    found = [(match[1], path / rest) for path in names if (match := fits.fullmatch(path.name))]
    spans = [LogSpan(name, path) for name, path in found if path.exists()]
    numbers = all(span.name.isdecimal() for span in spans)
    spans.sort(key=lambda span: (int(span.name) if numbers else 0, span.name))
    spans = spans[-config.window :] if config.window else spans
    fewest = config.validation + config.test + 1
    if len(spans) < fewest:
        names_found = ", ".join(span.name for span in spans) or "none"
        raise UserError(
            f"data.path: expected at least {fewest} spans like {pattern} (to train, {config.validation} to "
            f"validate, {config.test} to test), found {names_found}. Add logs, or lower data.spans."
        )
    return spans


def split_of_spans(count: int, config: SpansConfig) -> list[str]:
    """The split of each of `count` spans, oldest first."""
    train = count - config.validation - config.test
    return ["train"] * train + ["validation"] * config.validation + ["test"] * config.test


def join_spans(
    parts: Mapping[str, tuple[Path, Path]],
    config: SpansConfig,
    schema: DataSchema,
    feedback: Sequence[str],
    examples: Path,
    statistics: Path,
) -> dict[str, Any]:
    """Joins the Examples and statistics of spans, and writes what one ExampleGen of all would.

    Args:
        parts: span -> its (Examples, statistics), oldest first.
        examples, statistics: existing directories to fill.

    Returns:
        What `statistics.json` holds. "unique" of a feature with more than a thousand values counts a rare
        value once for each span it stands in.

    Raises:
        UserError: a split has no records, or a task in it one class.
    """
    from rmtl_tf.data.feature_stats import write_feature_stats
    from rmtl_tf.data.ingest import of_records, write_statistics
    from rmtl_tf.data.splits import SPLITS, check_splits
    from rmtl_tf.data.statistics import Statistics, load_tables, merge

    splits = dict(zip(parts, split_of_spans(len(parts), config), strict=True))
    for split in SPLITS:
        _link_shards([parts[span][0] for span in parts if splits[span] == split], examples, split)
    tables = [_move(load_tables(path), SPLITS.index(splits[span])) for span, (_, path) in parts.items()]
    joined = Statistics(merge(tables), schema, feedback)
    begins = [joined.begin(split) for split in SPLITS[1:]]
    check_splits(joined.records, joined.positives, (begins[0], begins[1]))
    report = {
        **_join_reports({span: path for span, (_, path) in parts.items()}),
        **of_records(joined, begins),
    }
    write_statistics({**report, SPANS: list(parts)}, joined, statistics)
    for span in list(parts)[-2:]:
        of_span = Statistics(merge([load_tables(parts[span][1])]), schema, feedback)
        write_feature_stats(of_span, "train", span_statistics(statistics, span), name=span)
    _join_quarantines({span: path for span, (_, path) in parts.items()}, statistics)
    return report


def span_statistics(statistics: Path, span: str) -> Path:
    """FeatureStats.pb of one span; the two newest have it, from which drift is seen."""
    return statistics / f"Span-{span}" / "FeatureStats.pb"


def newest_spans(statistics: Path) -> list[str]:
    """The newest span but one and the newest; nothing where the logs have no spans."""
    from rmtl_tf.data.ingest import STATISTICS_FILE
    from rmtl_tf.files import read_json

    report = statistics / STATISTICS_FILE
    return read_json(report).get(SPANS, [])[-2:] if report.is_file() else []


def _link_shards(sources: Sequence[Path], examples: Path, split: str) -> None:
    """Gives the files of some spans, which are whole and never change, one more name."""
    from rmtl_tf.data.records import shard_path
    from rmtl_tf.data.splits import split_dir

    shards = [path for source in sources for path in sorted(split_dir(source, "train").glob("data-*"))]
    for number, shard in enumerate(shards):
        target = shard_path(split_dir(examples, split), number, len(shards))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(shard, target)
        except OSError:  # a file system without links
            shutil.copyfile(shard, target)


def _move(tables: Tables, split: int) -> Tables:
    """The tables of a span, which are all of split 0, as those of another split."""
    import polars as pl

    from rmtl_tf.data.statistics import SPLIT

    moved = pl.when(pl.col(SPLIT) == 0).then(pl.lit(split, pl.Int64)).otherwise(pl.col(SPLIT)).alias(SPLIT)
    names = ("counts", "moments", "buckets", "rest")
    return replace(tables, **{name: getattr(tables, name).with_columns(moved) for name in names})


def _join_reports(parts: Mapping[str, Path]) -> dict[str, Any]:
    from rmtl_tf.data.ingest import STATISTICS_FILE
    from rmtl_tf.files import read_json

    reports = {span: read_json(path / STATISTICS_FILE) for span, path in parts.items()}
    reasons: dict[str, int] = {}
    for report in reports.values():
        for reason, count in report["reasons"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    totals = ("rows_read", "bad_rows", "excluded_rows")
    return {
        **{key: sum(report[key] for report in reports.values()) for key in totals},
        "reasons": dict(sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))),
        "files": {
            f"{span}/{name}": about
            for span, report in reports.items()
            for name, about in report["files"].items()
        },
    }


def _join_quarantines(parts: Mapping[str, Path], statistics: Path) -> None:
    import polars as pl

    from rmtl_tf.data.quarantine import QUARANTINE_FILE

    frames = [
        pl.read_csv(path / QUARANTINE_FILE, infer_schema=False).with_columns(
            (pl.lit(f"{span}/") + pl.col("file")).alias("file")
        )
        for span, path in parts.items()
    ]
    pl.concat(frames).write_csv(statistics / QUARANTINE_FILE)
