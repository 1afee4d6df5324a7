"""One measured job in a process of its own: prints seconds, rows and peak memory as JSON.

    python -m benchmarks.data.jobs JOB LOGS WORK [KEY=VALUE ...]

Imports are not in the seconds; memory is that of the whole process tree, libraries included.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from rmtl_tf.config import DataConfig, TransformConfig
from rmtl_tf.data.feedback import feedback_columns
from rmtl_tf.data.splits import SPLITS, split_dir
from rmtl_tf.schema import DataSchema, read_schema

CONFIG = DataConfig.model_validate(
    {"dataset": "retailrocket", "session": {"by": "gap"}, "feedback": {"exclude": ["pay"]}}
)


def schema() -> DataSchema:
    """RetailRocket's events alone, without the properties of items."""
    whole = read_schema("data_schemas/retailrocket.pbtxt")
    kept = [f for f in whole.features if not f.name.startswith(("property_", "category_"))]
    return replace(whole, features=tuple(kept))


def plain(logs: Path, work: Path, options: Sequence[str]) -> int:
    from benchmarks.data.plain import plain_examples

    return plain_examples(logs / "events.csv", work / "plain.tfrecord")


def example_gen(logs: Path, work: Path, options: Sequence[str]) -> int:
    from rmtl_tf.data.ingest import ingest

    outputs = [_fresh(work / name) for name in ("examples", "statistics")]
    report = ingest(logs, *outputs, CONFIG, schema(), options=options)
    return report["rows_read"]


def transform(logs: Path, work: Path, options: Sequence[str]) -> int:
    from rmtl_tf.data import transform as module

    feedback = feedback_columns(CONFIG.feedback, schema())
    graph, target, raw = _fresh(work / "graph"), _fresh(work / "transformed"), work / "examples"
    module.analyze(split_dir(raw, "train"), schema(), feedback, TransformConfig(), graph, options)
    pairs = {split_dir(raw, split): split_dir(target, split) for split in SPLITS}
    module.transform(pairs, schema(), feedback, graph, options)
    return json.loads((work / "statistics" / "statistics.json").read_text())["rows_read"]


def read(logs: Path, work: Path, options: Sequence[str]) -> int:
    """Session records to ragged batches, one epoch over train; counts records."""
    from rmtl_tf.features.graph import TransformGraph
    from rmtl_tf.inputs import ragged_batches

    graph = TransformGraph.load(work / "graph")
    files = sorted(str(path) for path in split_dir(work / "transformed", "train").glob("data-*"))
    batches = ragged_batches(files, graph.input_spec(), graph.labels, graph.timestamp)
    return sum(int(batch[graph.timestamp].flat_values.shape[0]) for batch in batches)


def read_long(logs: Path, work: Path, options: Sequence[str]) -> int:
    """As `read`, of the same inputs in sessions of 20 records that `write_long` wrote."""
    from rmtl_tf.features.graph import TransformGraph
    from rmtl_tf.inputs import ragged_batches

    graph = TransformGraph.load(work / "graph")
    batches = ragged_batches([str(work / LONG)], graph.input_spec(), graph.labels, graph.timestamp)
    return sum(int(batch[graph.timestamp].flat_values.shape[0]) for batch in batches)


def write_long(logs: Path, work: Path, options: Sequence[str]) -> int:
    """2 M records in sessions of 20, with the inputs of the transform graph in `work`."""
    import numpy as np
    import pyarrow as pa

    from rmtl_tf.data.records import write_record_batches
    from rmtl_tf.features.graph import TransformGraph

    graph, rng, sessions, steps = TransformGraph.load(work / "graph"), np.random.default_rng(0), 100_000, 20
    spec, rows = graph.input_spec(), sessions * steps
    columns = {name: rng.integers(0, size, rows) for name, size in spec.categorical}
    columns |= {name: rng.normal(size=rows).astype(np.float32) for name in spec.numeric}
    columns |= {name: rng.integers(0, 2, rows) for name in graph.labels}
    columns[graph.timestamp] = 1_400_000_000 + np.arange(rows)
    offsets = pa.array(np.arange(0, rows + 1, steps))
    lists = {
        name: pa.LargeListArray.from_arrays(offsets, pa.array(column)) for name, column in columns.items()
    }
    one = pa.array(np.arange(sessions + 1))
    keys = pa.array([b"session %d" % number for number in range(sessions)], pa.large_binary())
    lists["session_id"] = pa.LargeListArray.from_arrays(one, keys)
    lists["lookahead"] = pa.LargeListArray.from_arrays(one, pa.array(np.zeros(sessions, np.int64)))
    write_record_batches(work / LONG, [pa.record_batch(lists)])
    return rows


LONG = "long.tfrecord"
JOBS: dict[str, Callable[[Path, Path, Sequence[str]], int]] = {
    "plain": plain,
    "example_gen": example_gen,
    "transform": transform,
    "read": read,
    "write_long": write_long,
    "read_long": read_long,
}


class PeakMemory:
    """The largest sum of resident memory of this process and its children while the context lasts, in GB.

    Pages that processes share count once a process, so the sum is never too small.
    """

    def __enter__(self) -> PeakMemory:
        self.peak, self._end = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while True:
            sizes = [own.memory_info().rss]
            for child in own.children(recursive=True):
                try:
                    sizes.append(child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, sum(sizes) / 1e9)
            if self._end.wait(0.02):
                return


def _fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def _import(job: str) -> None:
    if job in ("plain", "read", "read_long"):
        import tensorflow  # noqa: F401
    if job == "plain":
        from tfx_bsl.coders import example_coder  # noqa: F401
    if job in ("example_gen", "transform"):
        import rmtl_tf.data.ingest
        import rmtl_tf.data.transform
    if job in ("read", "read_long"):
        import rmtl_tf.inputs  # noqa: F401


def main(job: str, logs: str, work: str, *options: str) -> None:
    _import(job)
    Path(work).mkdir(parents=True, exist_ok=True)
    with PeakMemory() as memory:
        began, cpu = time.perf_counter(), time.process_time()
        rows = JOBS[job](Path(logs), Path(work), options)
        seconds = time.perf_counter() - began
    busy = time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_gb": memory.peak, "cpu_seconds": busy}))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(*sys.argv[1:])
