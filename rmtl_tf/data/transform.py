"""Fitting and applying the transform graph with Beam, one element per shard; Arrow and numpy do the work.

Examples hold session windows; both steps see them as flat columns of records. A batch is a thousand windows,
so memory does not grow with a shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from rmtl_tf.config import TransformConfig
from rmtl_tf.data.analyzers import Analysis, Plan, fit, plan
from rmtl_tf.data.datasets.base import label_time
from rmtl_tf.data.records import write_record_batches
from rmtl_tf.data.session_reader import LOOKAHEAD, SESSION_ID, Records, SessionReader
from rmtl_tf.errors import UserError
from rmtl_tf.features.apply import GraphApplier
from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.schema import DataSchema


class _Analyze(beam.CombineFn):
    """Joins records of any shards in any order to one `Analysis`."""

    def __init__(self, columns: Plan) -> None:
        self._plan = columns

    def create_accumulator(self) -> Analysis:
        return Analysis(self._plan)

    def add_input(self, accumulator: Analysis, element: Records) -> Analysis:
        accumulator.add(element.without_lookahead())
        return accumulator

    def merge_accumulators(self, accumulators) -> Analysis:
        merged = Analysis(self._plan)
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: Analysis) -> Analysis:
        return accumulator


def analyze(
    split: Path, schema: DataSchema, feedback: Sequence[str], config: TransformConfig, directory: Path
) -> TransformGraph:
    """Fits the transform graph on the raw Examples of one split and saves it in `directory`.

    Every record counts once: the look-ahead record of a window is left to the window it begins.

    Args:
        feedback: the feedback columns the Examples have.
    """
    reader = SessionReader(schema, feedback)

    def save(analysis: Analysis) -> None:
        fit(analysis, schema, config).save(directory)

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (
            pipeline
            | "Shards" >> beam.Create([str(path) for path in _shards(split)])
            | "Read" >> beam.FlatMap(reader.read)
            | "Analyze" >> beam.CombineGlobally(_Analyze(plan(schema, feedback)))
            | "Save" >> beam.Map(save)
        )
    return TransformGraph.load(directory)


def transform(
    splits: Mapping[Path, Path], schema: DataSchema, feedback: Sequence[str], graph: TransformGraph
) -> None:
    """Writes the transformed Examples of each split, {raw directory: new directory}, under the same names."""
    reader = SessionReader(schema, feedback)
    shards = [
        (str(path), str(target / path.name)) for split, target in splits.items() for path in _shards(split)
    ]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (
            pipeline
            | "Shards" >> beam.Create(shards)
            | "Transform" >> beam.ParDo(_TransformShard(reader, graph))
        )


class _TransformShard(beam.DoFn):
    """(raw file, transformed file) -> number of Examples written."""

    def __init__(self, reader: SessionReader, graph: TransformGraph) -> None:
        self._reader = reader
        self._graph = graph

    def setup(self) -> None:
        self._applier = GraphApplier(self._graph)

    def process(self, element: tuple[str, str]) -> Iterator[int]:
        source, target = element
        batches = (
            _examples(records, self._applier(records.columns), self._graph)
            for records in self._reader.read(source)
        )
        yield write_record_batches(Path(target), batches)


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
