"""Raw logs to session Examples: what ExampleGen does, on Beam.

Beam moves blocks, Arrow and polars do the work on them: files are parsed and validated block by block; the
events of a session meet in one partition; every partition becomes ordered records; the session starts of all
partitions give the split times; every partition then writes its shard of each split and its statistics.
Elements are Arrow IPC bytes, so nothing holds a Python object per row. The result depends on the logs and the
configuration alone, not on workers, block size or the order of files.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.typehints import no_annotations
from tqdm import tqdm

from rmtl_tf.config import DataConfig
from rmtl_tf.data.datasets import get_reader
from rmtl_tf.data.feature_stats import write_feature_stats
from rmtl_tf.data.lines import BLOCK_SIZE, read_blocks, read_header
from rmtl_tf.data.partition import Plan, example_batches, make_records, partition_events
from rmtl_tf.data.quarantine import (
    QUARANTINE_FILE,
    bad_lines,
    check_bad_fraction,
    count_reasons,
    write_quarantine,
)
from rmtl_tf.data.records import shard_path, write_record_batches
from rmtl_tf.data.sessions import START, STEP
from rmtl_tf.data.splits import SPLITS, check_splits, split_dir, split_of, split_times
from rmtl_tf.data.statistics import SPLIT, Statistics, Tables, merge, tabulate
from rmtl_tf.data.validate import validate
from rmtl_tf.errors import UserError, nearest
from rmtl_tf.files import digest_file, write_json
from rmtl_tf.schema import DataSchema

STATISTICS_FILE = "statistics.json"

_log = logging.getLogger(__name__)


def ingest(
    source: Path,
    examples: Path,
    statistics: Path,
    config: DataConfig,
    schema: DataSchema,
    *,
    block_size: int = BLOCK_SIZE,
    runner: beam.runners.PipelineRunner | None = None,
    options: PipelineOptions | None = None,
) -> dict[str, Any]:
    """Reads the raw logs in `source` and writes session Examples and their statistics.

    Args:
        source: folder (or file) with the raw files of data set `config.dataset`.
        examples, statistics: existing directories to fill (docs/architecture.md, Examples).
        block_size: bytes of a file parsed at a time.
        runner: a Beam runner; default: in this process.
        options: for the runner.

    Returns:
        What `statistics.json` holds.

    Raises:
        UserError: no files, a missing column, too many bad rows, an empty split, a task with one class.
    """
    reader = get_reader(config.dataset)
    paths = reader.files(source)
    with tempfile.TemporaryDirectory(dir=statistics, prefix=".work-") as work:
        side = Path(work) / "side"
        plan = Plan(
            tuple(p.name for p in paths), tuple(map(str, paths)), config, schema, block_size, str(side)
        )
        plan.check()
        check_headers(plan)
        side.mkdir()
        reader.prepare(source, side, schema)
        _run(plan, examples, Path(work), runner or FnApiRunner(), options or PipelineOptions(flags=[]))
        results = _read_results(Path(work))
    return _finish(plan, results, examples, statistics)


def check_headers(plan: Plan) -> None:
    """Looks for every wanted column in the header of every file.

    Raises:
        UserError: names the file, the missing column and the nearest of those there.
    """
    given = get_reader(plan.config.dataset).header
    for path in plan.paths:
        header = list(given) or read_header(Path(path))
        for column in plan.columns:
            if column.source not in header:
                raise UserError(
                    f'{path}: column "{column.source}" is missing; {nearest(column.source, header)} '
                    f"The file has: {', '.join(header)}. Rename the column, or change the schema."
                )
            if header.count(column.source) > 1:
                raise UserError(f'{path}: column "{column.source}" stands twice in the header. Rename one.')


def _run(plan: Plan, examples: Path, work: Path, runner: Any, options: PipelineOptions) -> None:
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        parsed = (
            pipeline
            | "Files" >> beam.Create(list(range(len(plan.paths))))
            | "Parse"
            >> beam.FlatMap(_parse, plan)
            .with_output_types(Any)
            .with_outputs("bad", "files", "failed", main="events")
        )
        made = (
            parsed.events
            | "Partition" >> beam.GroupByKey()
            | "Records"
            >> beam.FlatMap(_records, plan)
            .with_output_types(Any)
            .with_outputs("bad", "starts", main="records")
        )
        times = made.starts | "Split times" >> beam.CombineGlobally(_SplitTimes(plan.config.split))
        tables = made.records | "Write" >> (
            beam.FlatMap(_write, plan, str(examples), beam.pvalue.AsSingleton(times))
            .with_output_types(Any)
            .with_outputs("counts", "moments", "buckets")
        )
        results = {
            "files": parsed.files,
            "failed": parsed.failed,
            "bad": (parsed.bad, made.bad) | "All bad" >> beam.Flatten(),
            "counts": tables.counts,
            "moments": tables.moments,
            "buckets": tables.buckets,
            "times": times | beam.Map(lambda pair: (0, _pack(pl.DataFrame({"time": pair})))),
        }
        for name, frames in results.items():
            _ = (
                frames
                | f"Gather {name}" >> beam.Map(lambda numbered: (None, numbered))
                | f"Group {name}" >> beam.GroupByKey()
                | f"Save {name}" >> beam.Map(_save, name, str(work))
            )


@no_annotations
def _parse(file: int, plan: Plan) -> Iterator[Any]:
    """A file -> (partition, events) blocks; tagged: bad rows, number of rows, why it is unreadable."""
    columns, rows = plan.columns, 0
    header = get_reader(plan.config.dataset).header
    wanted = [column.source for column in columns]
    blocks = read_blocks(Path(plan.paths[file]), wanted, plan.block_size, header)
    bar = tqdm(desc=f"reading {plan.names[file]}", unit=" rows", unit_scale=True, disable=None)
    try:
        for block in blocks:
            events, bad = validate(block.rows, columns, file)
            bad = pl.concat([bad, bad_lines(block.bad, file)])
            rows += block.read
            bar.update(block.read)
            if bad.height:
                yield beam.pvalue.TaggedOutput("bad", (file, _pack(bad)))
            for number, frame in partition_events(events, plan):
                yield number, _pack(frame)
    except UserError as error:
        # A runner may show an error of its own instead.
        yield beam.pvalue.TaggedOutput("failed", (file, _pack(pl.DataFrame({"message": [str(error)]}))))
    finally:
        bar.close()
    yield beam.pvalue.TaggedOutput("files", (file, _pack(pl.DataFrame({"file": [file], "rows": [rows]}))))


@no_annotations
def _records(partition: tuple[int, Iterable[bytes]], plan: Plan) -> Iterator[Any]:
    """The blocks of a partition -> (partition, records); tagged: rows to quarantine, session starts."""
    number, blocks = partition
    records, bad = make_records(pl.concat([_unpack(block) for block in blocks]), plan)
    if bad.height:
        yield beam.pvalue.TaggedOutput("bad", (0, _pack(bad)))
    if records.height:
        starts = records.filter(pl.col(STEP) == 0)[START].to_numpy()
        yield beam.pvalue.TaggedOutput("starts", starts.astype("<i8").tobytes())
        yield number, _pack(records)


class _SplitTimes(beam.CombineFn):
    """Session starts of all partitions (bytes of int64) -> the two split times, exactly."""

    def __init__(self, fractions: tuple[float, float, float]) -> None:
        self.fractions = fractions

    def create_accumulator(self) -> list[bytes]:
        return []

    def add_input(self, accumulator: list[bytes], starts: bytes) -> list[bytes]:
        return [*accumulator, starts]

    def merge_accumulators(self, accumulators: Iterable[list[bytes]]) -> list[bytes]:
        return [starts for accumulator in accumulators for starts in accumulator]

    def extract_output(self, accumulator: list[bytes]) -> tuple[int, int]:
        return split_times(np.frombuffer(b"".join(accumulator), "<i8"), self.fractions)


@no_annotations
def _write(partition: tuple[int, bytes], plan: Plan, examples: str, times: tuple[int, int]) -> Iterator[Any]:
    """Writes a partition's shard of every split; tagged: its tables of statistics."""
    number, data = partition
    records = _unpack(data)
    records = records.with_columns(
        pl.Series(SPLIT, split_of(records[START].to_numpy(), times), dtype=pl.Int64)
    )
    windows = []
    for i, split in enumerate(SPLITS):
        count, batches = example_batches(records.filter(pl.col(SPLIT) == i), plan)
        path = shard_path(split_dir(Path(examples), split), number, plan.config.shards)
        write_record_batches(path, batches)
        windows.append(count)
    tables = tabulate(records, windows, plan.schema, plan.feedback)
    yield beam.pvalue.TaggedOutput("counts", (number, _pack(tables.counts)))
    yield beam.pvalue.TaggedOutput("moments", (number, _pack(tables.moments)))
    yield beam.pvalue.TaggedOutput("buckets", (number, _pack(tables.buckets)))


@no_annotations
def _save(group: tuple[None, Iterable[tuple[int, bytes]]], name: str, work: str) -> None:
    """Writes the small tables of all blocks or partitions, in the order of their numbers, as one file."""
    frames = [_unpack(data) for _, data in sorted(group[1], key=lambda numbered: numbered[0])]
    pl.concat(frames).write_ipc(Path(work) / f"{name}.arrow")


def _read_results(work: Path) -> dict[str, pl.DataFrame]:
    return {path.stem: _unpack(path.read_bytes()) for path in sorted(work.glob("*.arrow"))}


def _pack(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_ipc(stream, compression="lz4")
    return stream.getvalue()


def _unpack(data: bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(data))


def _finish(plan: Plan, results: dict[str, pl.DataFrame], examples: Path, directory: Path) -> dict[str, Any]:
    """Writes quarantine and statistics, and refuses logs that cannot be trained on."""
    if "failed" in results:
        raise UserError("\n".join(results["failed"]["message"].to_list()))
    files, bad = results["files"], results.get("bad", bad_lines([], 0))
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
    tables = Tables(results["counts"], results["moments"], results["buckets"])
    statistics = Statistics(merge([tables]), plan.schema, plan.feedback)
    check_splits(statistics.records, statistics.positives, (first, second))
    _complete_shards(examples, plan.config.shards)
    report = _report(plan, files, bad, statistics, [first, second])
    write_json(directory / STATISTICS_FILE, report)
    for split in SPLITS:
        write_feature_stats(statistics, split, split_dir(directory, split) / "FeatureStats.pb")
    records = ", ".join(f"{split} {count:,}" for split, count in statistics.records.items())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in report["reasons"].items()) or "none"
    _log.info(
        "%d rows: %d bad, %d excluded (%s); %d sessions; records: %s",
        rows, report["bad_rows"], report["excluded_rows"], reasons, report["sessions"], records,
    )  # fmt: skip
    return report


def _complete_shards(examples: Path, shards: int) -> None:
    """A partition without sessions is a file without Examples."""
    for split in SPLITS:
        for shard in range(shards):
            path = shard_path(split_dir(examples, split), shard, shards)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def _report(
    plan: Plan, files: pl.DataFrame, bad: pl.DataFrame, statistics: Statistics, times: list[int]
) -> dict[str, Any]:
    splits = statistics.splits()
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
        "records": sum(split["records"] for split in splits.values()),
        "sessions": sum(split["sessions"] for split in splits.values()),
        "split_times": times,
        "splits": splits,
        "session_length": statistics.session_length(),
        "features": statistics.features(),
    }
