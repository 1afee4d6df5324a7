"""Raw logs to session Examples: what ExampleGen does, on Beam.

Beam moves references, Arrow and polars do the work: parts of files are parsed and validated block by block;
the events of a session meet in one partition; every partition becomes ordered records; the session starts of
all partitions give the split times; every partition then writes its shard of each split and its statistics.
Rows pass from step to step as Arrow files in a work folder (`shuffle.py`), so memory does not grow with the
logs. The result depends on the logs and the configuration alone, not on the runner, its workers, the size of
blocks and parts or the order of files.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
from apache_beam.typehints import no_annotations
from tqdm import tqdm

from rmtl_tf.config import DataConfig
from rmtl_tf.data import beam_options, shuffle
from rmtl_tf.data.csv_header import check_form, missing_column
from rmtl_tf.data.datasets import get_reader
from rmtl_tf.data.feature_stats import write_feature_stats
from rmtl_tf.data.lines import BLOCK_SIZE
from rmtl_tf.data.partition import Plan, example_batches, make_records, partition_of
from rmtl_tf.data.quarantine import (
    QUARANTINE_FILE,
    bad_lines,
    check_bad_fraction,
    count_reasons,
    write_quarantine,
)
from rmtl_tf.data.records import shard_path, write_record_batches
from rmtl_tf.data.sessions import START, STEP
from rmtl_tf.data.shuffle import Piece
from rmtl_tf.data.spans import (
    SPAN_SIZE,
    Settled,
    Span,
    input_bytes,
    nominal_spans,
    number_lines,
    read_names,
    read_span,
    settle,
)
from rmtl_tf.data.splits import (
    SPLITS,
    check_splits,
    exact_times,
    in_buckets,
    merge_tallies,
    split_dir,
    split_of,
    tally,
    wanted_buckets,
)
from rmtl_tf.data.statistics import SPLIT, Statistics, Tables, condense, merge, save_tables, tabulate
from rmtl_tf.data.threads import Threaded
from rmtl_tf.data.validate import validate
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file, write_json
from rmtl_tf.schema import DataSchema

STATISTICS_FILE = "statistics.json"
NEVER = int(np.iinfo(np.int64).max)

_log = logging.getLogger(__name__)


def ingest(
    source: Path,
    examples: Path,
    statistics: Path,
    config: DataConfig,
    schema: DataSchema,
    *,
    block_size: int = BLOCK_SIZE,
    span_size: int = SPAN_SIZE,
    options: Sequence[str] = (),
    log_span: str | None = None,
) -> dict[str, Any]:
    """Reads the raw logs in `source` and writes session Examples and their statistics.

    Args:
        source: folder (or file) with the raw files of data set `config.dataset`.
        examples, statistics: existing directories to fill (docs/architecture.md, Examples).
        block_size: bytes of a file parsed at a time.
        span_size: bytes of a plain file that one worker parses.
        options: Beam's, as `KEY=VALUE` (docs/beam.md); default: threads of this process.
        log_span: the logs are those of one span: all sessions go into train, whatever `config.split` says,
            and the tables of statistics are kept, for `rmtl_tf.data.growing.join_spans`.

    Returns:
        What `statistics.json` holds.

    Raises:
        UserError: no files, a missing column, too many bad rows, an empty split, a task with one class.
    """
    reader = get_reader(config.dataset)
    paths = reader.files(source)
    names, places = tuple(path.name for path in paths), tuple(str(path.resolve()) for path in paths)
    with tempfile.TemporaryDirectory(dir=statistics, prefix=".work-") as local:
        side = Path(local).resolve() / "side"
        size = input_bytes(paths)
        plan = Plan(names, places, config, schema, block_size, str(side), size, span_size, log_span)
        plan.check()
        check_headers(plan)
        side.mkdir()
        reader.prepare(source, side, schema)
        work = beam_options.work_folder(options, str(Path(local).resolve() / "work"))
        try:
            results = _run(plan, str(examples.resolve()), work, options)
        finally:
            shuffle.remove(work)
    return _finish(plan, results, examples, statistics)


def check_headers(plan: Plan) -> None:
    """Looks for every wanted column in the header of every file.

    Raises:
        UserError: names the file, the missing column and the nearest of those there.
    """
    given = get_reader(plan.config.dataset).header
    for path in plan.paths:
        if given:
            check_form(Path(path))
        header = list(given) or read_names(Path(path))
        for column in plan.columns:
            if column.source not in header:
                raise missing_column(Path(path), column.source, header)
            if header.count(column.source) > 1:
                raise UserError(f'{path}: column "{column.source}" stands twice in the header. Rename one.')


def _run(plan: Plan, examples: str, work: str, options: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Runs the pipeline; the small tables it gives, by name, without those that have no rows."""
    spans = [
        span
        for file, path in enumerate(plan.paths)
        for span in nominal_spans(Path(path), file, plan.span_size)
    ]
    threads = beam_options.threads(options, plan.size)
    with beam_options.pipeline(options) as pipeline:
        parsed = (
            pipeline
            | "Parts of files" >> beam.Create(spans)
            | "Settle" >> beam.Map(_settle, plan).with_output_types(tuple[int, Any])
            | "Parts of a file" >> beam.GroupByKey()
            | "Number lines" >> beam.FlatMap(_number_lines)
            | "Spread" >> beam.Reshuffle()
            | "Parse"
            >> beam.ParDo(Threaded(_parse, plan, work, threads=threads))
            .with_output_types(Any)
            .with_outputs("bad", "files", "failed", main="events")
        )
        made = (
            parsed.events
            | "Partition" >> beam.GroupByKey()
            | "Records"
            >> beam.ParDo(Threaded(_records, plan, work, threads=threads))
            .with_output_types(Any)
            .with_outputs("bad", "tally", "arrived", main="records")
        )
        starts = beam.pvalue.AsSingleton(made.tally | "Tally" >> beam.CombineGlobally(_Tally()))
        times = (
            made.records
            | "Starts near" >> beam.Map(_starts_near, plan, starts).with_output_types(tuple[None, bytes])
            | "All near" >> beam.GroupByKey()
            | "Split times" >> beam.Map(_split_times, plan, starts)
        )
        written = made.records | "Write" >> (
            beam.ParDo(
                Threaded(_write, plan, examples, work, threads=threads),
                beam.pvalue.AsSingleton(times, (0, 0)),
            )
            .with_output_types(Any)
            .with_outputs("counts", "moments", "buckets")
        )
        values = (
            written.counts
            | "Counts of a value" >> beam.GroupByKey()
            | "Condense"
            >> beam.ParDo(Threaded(_condense, threads=threads))
            .with_output_types(Any)
            .with_outputs("counts", "rest")
        )
        results = {
            "files": parsed.files,
            "failed": parsed.failed,
            "bad": (parsed.bad, made.bad) | "All bad" >> beam.Flatten(),
            "counts": values.counts,
            "rest": values.rest,
            "moments": written.moments,
            "buckets": written.buckets,
            "arrived": made.arrived,
            "times": times | beam.Map(lambda pair: ((0,), shuffle.pack(pl.DataFrame({"time": pair})))),
        }
        for name, frames in results.items():
            _ = (
                frames
                | f"Gather {name}" >> beam.Map(lambda numbered: (None, numbered))
                | f"Group {name}" >> beam.GroupByKey()
                | f"Save {name}" >> beam.Map(_save, _result_path(work, name))
            )
    tables = {name: _result_path(work, name) for name in results}
    return {name: shuffle.read_frame(path) for name, path in tables.items() if shuffle.exists(path)}


@no_annotations
def _settle(span: Span, plan: Plan) -> tuple[int, Settled]:
    return span.file, settle(Path(plan.paths[span.file]), span)


@no_annotations
def _number_lines(group: tuple[int, Iterable[Settled]]) -> list[Span]:
    return number_lines(list(group[1]))


@no_annotations
def _parse(span: Span, plan: Plan, work: str) -> Iterator[Any]:
    """A part of a file -> (partition, piece) of its events; tagged: bad rows, number of rows, errors."""
    columns, rows, valid = plan.columns, 0, 0
    file, order = span.file, (span.file, span.number)
    header = get_reader(plan.config.dataset).header
    wanted = [column.source for column in columns]
    blocks = read_span(Path(plan.paths[file]), span, wanted, plan.block_size, header)
    bar = tqdm(desc=f"reading {plan.names[file]}", unit=" rows", unit_scale=True, disable=None, leave=False)
    try:
        for number, block in enumerate(blocks):
            events, bad = validate(block.rows, columns, file)
            bad = pl.concat([bad, bad_lines(block.bad, file)])
            rows += block.read
            valid += events.height
            bar.update(block.read)
            if bad.height:
                yield beam.pvalue.TaggedOutput("bad", (order, shuffle.pack(bad)))
            path = f"{work}/events-{file}-{span.number}-{number}.arrow"
            yield from shuffle.spill(events, partition_of(events, plan), path, (*order, number))
    except UserError as error:
        # A runner may show an error of its own instead.
        yield beam.pvalue.TaggedOutput(
            "failed", (order, shuffle.pack(pl.DataFrame({"message": [str(error)]})))
        )
    finally:
        bar.close()
    read = pl.DataFrame({"file": [file], "rows": [rows], "events": [valid]})
    yield beam.pvalue.TaggedOutput("files", (order, shuffle.pack(read)))


@no_annotations
def _records(partition: tuple[int, Iterable[Piece]], plan: Plan, work: str) -> Iterator[Any]:
    """The events of a partition -> (partition, file of records); tagged: bad rows, session starts."""
    number, pieces = partition
    events = shuffle.gather(pieces)
    records, bad = make_records(events, plan)
    arrived = pl.DataFrame({"events": [events.height], "records": [records.height]})
    yield beam.pvalue.TaggedOutput("arrived", ((number,), shuffle.pack(arrived)))
    if bad.height:
        yield beam.pvalue.TaggedOutput("bad", ((number,), shuffle.pack(bad)))
    if records.height:
        path = shuffle.write_frame(records, f"{work}/records-{number}.arrow")
        yield beam.pvalue.TaggedOutput("tally", tally(_starts(records)).tobytes())
        yield number, path


def _starts(records: pl.DataFrame) -> np.ndarray:
    """The start of every session, int64."""
    return records.filter(pl.col(STEP) == 0)[START].to_numpy()


class _Tally(beam.CombineFn):
    """Adds up tables of session starts (bytes of `splits.tally`)."""

    def create_accumulator(self) -> bytes:
        return b""

    def add_input(self, accumulator: bytes, table: bytes) -> bytes:
        return self.merge_accumulators([accumulator, table])

    def merge_accumulators(self, accumulators: Iterable[bytes]) -> bytes:
        return merge_tallies([_tally(table) for table in accumulators]).tobytes()

    def extract_output(self, accumulator: bytes) -> bytes:
        return accumulator


def _tally(table: bytes) -> np.ndarray:
    return np.frombuffer(table, np.int64).reshape(-1, 3)


@no_annotations
def _starts_near(partition: tuple[int, str], plan: Plan, table: bytes) -> tuple[None, bytes]:
    """The session starts of a partition among which the split times are."""
    starts = _starts(shuffle.read_frame(partition[1], [START, STEP]))
    return None, in_buckets(starts, wanted_buckets(_tally(table), plan.config.split)).tobytes()


@no_annotations
def _split_times(group: tuple[None, Iterable[bytes]], plan: Plan, table: bytes) -> tuple[int, int]:
    if plan.log_span is not None:
        return NEVER, NEVER
    return exact_times(_tally(table), np.frombuffer(b"".join(group[1]), np.int64), plan.config.split)


@no_annotations
def _write(
    partition: tuple[int, str], plan: Plan, examples: str, work: str, times: tuple[int, int]
) -> Iterator[Any]:
    """Writes a partition's shard of every split; tagged: its tables of statistics."""
    number, path = partition
    records = shuffle.read_frame(path)
    records = records.with_columns(
        pl.Series(SPLIT, split_of(records[START].to_numpy(), times), dtype=pl.Int64)
    )
    windows = []
    for i, split in enumerate(SPLITS):
        count, batches = example_batches(records.filter(pl.col(SPLIT) == i), plan)
        write_record_batches(shard_path(split_dir(Path(examples), split), number, plan.shards), batches)
        windows.append(count)
    tables = tabulate(records, windows, plan.schema, plan.feedback)
    part = shuffle.parts_of(tables.counts["value"], plan.shards)
    for piece in shuffle.spill(tables.counts, part, f"{work}/counts-{number}.arrow", (number,)):
        yield beam.pvalue.TaggedOutput("counts", piece)
    yield beam.pvalue.TaggedOutput("moments", ((number,), shuffle.pack(tables.moments)))
    yield beam.pvalue.TaggedOutput("buckets", ((number,), shuffle.pack(tables.buckets)))


@no_annotations
def _condense(group: tuple[int, Iterable[Piece]]) -> Iterator[Any]:
    """All counts of some values -> tagged: those of frequent ones, and how many others there are."""
    number, pieces = group
    counts, rest = condense(shuffle.gather(pieces))
    yield beam.pvalue.TaggedOutput("counts", ((number,), shuffle.pack(counts)))
    yield beam.pvalue.TaggedOutput("rest", ((number,), shuffle.pack(rest)))


@no_annotations
def _save(group: tuple[None, Iterable[tuple[tuple[int, ...], bytes]]], path: str) -> None:
    """Writes the small tables of all blocks or partitions, in the order of their numbers, as one file."""
    frames = [shuffle.unpack(data) for _, data in sorted(group[1], key=lambda numbered: numbered[0])]
    shuffle.write_frame(pl.concat(frames), path)


def _result_path(work: str, name: str) -> str:
    return f"{work}/result-{name}.arrow"


def _finish(plan: Plan, results: dict[str, pl.DataFrame], examples: Path, directory: Path) -> dict[str, Any]:
    """Writes quarantine and statistics, and refuses logs that cannot be trained on."""
    if "failed" in results:
        raise UserError("\n".join(results["failed"]["message"].unique(maintain_order=True).to_list()))
    files = results["files"].group_by("file").agg(pl.sum("rows")).sort("file")
    bad = results.get("bad", bad_lines([], 0))
    rows = int(files["rows"].sum())
    path = directory / QUARANTINE_FILE
    write_quarantine(bad, plan.names, path)
    if rows == 0:
        raise UserError(
            f"raw logs: no rows after the header in {', '.join(plan.names)}. Give logs with rows."
        )
    check_bad_fraction(bad, rows, plan.config.max_bad_fraction, plan.names, path)
    if "counts" not in results:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in count_reasons(bad).items())
        raise UserError(
            f"raw logs: none of {rows:,} rows is part of a record: {reasons}. See {path.name}.", keep=(path,)
        )
    first, second = results["times"]["time"].to_list()
    tables = Tables(*(results[name] for name in ("counts", "moments", "buckets", "rest")))
    statistics = Statistics(merge([tables]), plan.schema, plan.feedback)
    _check_whole(results, sum(statistics.records.values()))
    if plan.log_span is not None:
        save_tables(tables, directory)
        report = _of_files(plan, files, bad)
        write_json(directory / STATISTICS_FILE, report)
        return report
    check_splits(statistics.records, statistics.positives, (first, second))
    _complete_shards(examples, plan.shards)
    report = {**_of_files(plan, files, bad), **of_records(statistics, [first, second])}
    write_statistics(report, statistics, directory)
    records = ", ".join(f"{split} {count:,}" for split, count in statistics.records.items())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in report["reasons"].items()) or "none"
    _log.info(
        "%d rows: %d bad, %d excluded (%s); %d sessions; records: %s",
        rows, report["bad_rows"], report["excluded_rows"], reasons, report["sessions"], records,
    )  # fmt: skip
    return report


def _check_whole(results: dict[str, pl.DataFrame], written: int) -> None:
    """A runner that loses a bundle must not go unnoticed.

    Raises:
        RuntimeError: events that were read did not all become records, or records were not all written.
    """
    read = int(results["files"]["events"].sum())
    arrived, made = results["arrived"].sum().row(0)
    if (read, made) != (arrived, written):
        raise RuntimeError(
            f"the Beam runner lost rows: {read:,} valid events were read and {arrived:,} arrived, {made:,} "
            f"records were made and {written:,} written. Run again, or on another runner."
        )


def _complete_shards(examples: Path, shards: int) -> None:
    """A partition without sessions is a file without Examples."""
    for split in SPLITS:
        for shard in range(shards):
            path = shard_path(split_dir(examples, split), shard, shards)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def write_statistics(report: dict[str, Any], statistics: Statistics, directory: Path) -> None:
    """`statistics.json`, and TFX's statistics of every split."""
    write_json(directory / STATISTICS_FILE, report)
    for split in SPLITS:
        write_feature_stats(statistics, split, split_dir(directory, split) / "FeatureStats.pb")


def _of_files(plan: Plan, files: pl.DataFrame, bad: pl.DataFrame) -> dict[str, Any]:
    malformed = bad.filter(~pl.col("excluded"))
    per_file = dict(malformed["#file"].value_counts().iter_rows())
    rows = dict(files.select("file", "rows").iter_rows())
    return {
        "rows_read": int(files["rows"].sum()),
        "bad_rows": malformed.height,
        "excluded_rows": bad.height - malformed.height,
        "reasons": count_reasons(bad),
        "files": {
            name: {"rows": rows[i], "bad": per_file.get(i, 0), "sha256": digest_file(Path(plan.paths[i]))}
            for i, name in enumerate(plan.names)
        },
    }


def of_records(statistics: Statistics, times: list[int]) -> dict[str, Any]:
    """The part of `statistics.json` that is about records; `times` divide the splits."""
    splits = statistics.splits()
    return {
        "records": sum(split["records"] for split in splits.values()),
        "sessions": sum(split["sessions"] for split in splits.values()),
        "split_times": times,
        "splits": splits,
        "session_length": statistics.session_length(),
        "features": statistics.features(),
    }
