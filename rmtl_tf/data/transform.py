"""Fitting and applying the transform graph with Beam, one element per shard; Arrow and numpy do the work.

Examples hold session windows; both steps see them as flat columns of records, some megabytes at a time. How
often each value occurs is counted by shard; the counts of a value meet by its hash, and only those that
make it into a vocabulary go on: so memory does not grow with the logs, nor with their rare values.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.typehints import no_annotations

from rmtl_tf.config import TransformConfig
from rmtl_tf.data import beam_options, shuffle
from rmtl_tf.data.analyzers import Analysis, Plan, collisions, fit, frequent, plan, rest
from rmtl_tf.data.collisions import COLLISIONS_FILE
from rmtl_tf.data.datasets.base import label_time
from rmtl_tf.data.records import write_record_batches
from rmtl_tf.data.session_reader import LOOKAHEAD, SESSION_ID, Records, SessionReader
from rmtl_tf.data.shuffle import Piece
from rmtl_tf.data.threads import Threaded
from rmtl_tf.errors import UserError
from rmtl_tf.features.apply import GraphApplier
from rmtl_tf.features.graph import GRAPH_FILE, TransformGraph
from rmtl_tf.files import write_json
from rmtl_tf.schema import DataSchema

_COUNTS_BYTES = 64 << 20  # of Examples for each part of the counts


def analyze(
    split: Path,
    schema: DataSchema,
    feedback: Sequence[str],
    config: TransformConfig,
    directory: Path,
    options: Sequence[str] = (),
) -> TransformGraph:
    """Fits the transform graph on the raw Examples of one split and saves it in `directory`.

    Every record counts once: the look-ahead record of a window is left to the window it begins.

    Args:
        feedback: the feedback columns the Examples have.
        options: Beam's, as `KEY=VALUE`.
    """
    shards, columns = _shards(split), plan(schema, feedback)
    size = sum(path.stat().st_size for path in shards)
    parts = 1 + size // _COUNTS_BYTES
    paths = [(number, str(path.resolve())) for number, path in enumerate(shards)]
    target, reader = str(directory.resolve()), SessionReader(schema, feedback)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".work-") as local:
        work = beam_options.work_folder(options, str(Path(local).resolve()))
        try:
            threads = beam_options.threads(options, size)
            with beam_options.pipeline(options) as pipeline:
                analyzed = (
                    pipeline
                    | "Shards" >> beam.Create(paths)
                    | "Spread" >> beam.Reshuffle()
                    | "Analyze"
                    >> beam.ParDo(Threaded(_analyze, reader, columns, parts, work, threads=threads))
                    .with_output_types(Any)
                    .with_outputs("counts", main="analyses")
                )
                values = beam.pvalue.AsList(
                    analyzed.counts
                    | "Counts of a value" >> beam.GroupByKey()
                    | "Frequent" >> beam.Map(_frequent, config).with_output_types(Any)
                )
                _ = (
                    analyzed.analyses
                    | "All" >> beam.CombineGlobally(_Merge(columns))
                    | "Save" >> beam.Map(_save, values, len(shards), schema, config, target)
                )
        finally:
            shuffle.remove(work)
    return TransformGraph.load(directory)


@no_annotations
def _analyze(
    shard: tuple[int, str], reader: SessionReader, columns: Plan, parts: int, work: str
) -> Iterator[Any]:
    """A shard -> its analysis without counts of values; tagged: (part, piece) of these."""
    number, path = shard
    analysis = Analysis(columns)
    for records in reader.read(path):
        analysis.add(records.without_lookahead())
    counts = analysis.take_values()
    place = shuffle.parts_of(counts["value"], parts)
    for part, piece in shuffle.spill(counts, place, f"{work}/counts-{number}.arrow", (number,)):
        yield beam.pvalue.TaggedOutput("counts", (part, piece))
    yield analysis


@no_annotations
def _frequent(group: tuple[int, Iterable[Piece]], config: TransformConfig) -> tuple[int, bytes, bytes]:
    """The sum of all counts of one part, the counts of values that can be in a vocabulary, and the buckets
    that the others fill."""
    counts = shuffle.gather(group[1])
    kept = frequent(counts, config)
    return int(counts["count"].sum()), shuffle.pack(kept), shuffle.pack(rest(counts, kept, config))


@no_annotations
def _save(
    analysis: Analysis,
    values: list[tuple[int, bytes, bytes]],
    shards: int,
    schema: DataSchema,
    config: TransformConfig,
    directory: str,
) -> None:
    if (analysis.parts, sum(counted for counted, *_ in values)) != (shards, analysis.taken):
        raise RuntimeError(
            f"the Beam runner lost results: {analysis.parts} of {shards} shards arrived. Run again, or on "
            "another runner."
        )
    for _, counts, buckets in values:
        analysis.add_values(shuffle.unpack(counts))
        analysis.add_buckets(shuffle.unpack(buckets))
    fit(analysis, schema, config).save(directory)
    if found := collisions(analysis, config):
        write_json(Path(directory) / COLLISIONS_FILE, found)


class _Merge(beam.CombineFn):
    """Joins the analyses of shards in any order."""

    def __init__(self, columns: Plan) -> None:
        self._plan = columns

    def create_accumulator(self) -> Analysis:
        return Analysis(self._plan)

    def add_input(self, accumulator: Analysis, element: Analysis) -> Analysis:
        accumulator.merge(element)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Analysis]) -> Analysis:
        merged = Analysis(self._plan)
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: Analysis) -> Analysis:
        return accumulator


def transform(
    splits: Mapping[Path, Path],
    schema: DataSchema,
    feedback: Sequence[str],
    graph: Path,
    options: Sequence[str] = (),
) -> None:
    """Writes the transformed Examples of each split, {raw directory: new directory}, under the same names.

    Args:
        graph: directory of the saved transform graph.
        options: Beam's, as `KEY=VALUE`.
    """
    pairs = [(path, target / path.name) for split, target in splits.items() for path in _shards(split)]
    shards = [(str(path.resolve()), str(target.resolve())) for path, target in pairs]
    threads = beam_options.threads(options, sum(path.stat().st_size for path, _ in pairs))
    work = Threaded(_transform, SessionReader(schema, feedback), str(graph.resolve()), threads=threads)
    with beam_options.pipeline(options) as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(shards)
            | "Spread" >> beam.Reshuffle()
            | "Transform" >> beam.ParDo(work)
        )
    if lost := [target for _, target in pairs if not target.exists()]:
        raise RuntimeError(f"the Beam runner lost {len(lost)} shards, for example {lost[0]}. Run again.")


@no_annotations
def _transform(shard: tuple[str, str], reader: SessionReader, directory: str) -> Iterator[int]:
    """(raw file, transformed file) -> number of Examples written."""
    source, target = shard
    graph, applier = _load(directory, (Path(directory) / GRAPH_FILE).stat().st_mtime_ns)
    batches = (_examples(records, applier(records.columns), graph) for records in reader.read(source))
    yield write_record_batches(Path(target), batches)


@lru_cache(maxsize=1)
def _load(directory: str, written: int) -> tuple[TransformGraph, GraphApplier]:
    """The graph, which was written at this time, once for all workers of a process."""
    graph = TransformGraph.load(directory)
    return graph, GraphApplier(graph)


def _examples(records: Records, inputs: Mapping[str, np.ndarray], graph: TransformGraph) -> pa.RecordBatch:
    """One row per window: `session_id`, `lookahead`, and timestamp, labels (with their times, where there
    are any) and inputs of its T records; T * M ids where a record has M."""
    single = pa.array(np.arange(len(records.steps) + 1))
    offsets = pa.array(np.concatenate([[0], np.cumsum(records.steps)]))
    lists = {
        SESSION_ID: pa.LargeListArray.from_arrays(single, records.session_id),
        LOOKAHEAD: pa.LargeListArray.from_arrays(single, pa.array(records.lookahead)),
    }
    times = [label_time(label) for label in graph.labels if label_time(label) in records.columns]
    passed = {name: records.columns[name] for name in (graph.timestamp, *graph.labels, *times)}
    for name, values in {**passed, **inputs}.items():
        ends = offsets if values.ndim == 1 else pa.array(offsets.to_numpy() * values.shape[1])
        lists[name] = pa.LargeListArray.from_arrays(ends, pa.array(values.ravel()))
    return pa.record_batch(lists)


def _shards(split: Path) -> list[Path]:
    paths = sorted(split.glob("data-*.tfrecord"))
    if not paths:
        raise UserError(
            f"{split}: expected session Examples (data-*.tfrecord), found none. Run ExampleGen again."
        )
    return paths
