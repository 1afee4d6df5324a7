"""Batches whose features stay in a file, beside those of memory: records a second of the input alone.

    python -m benchmarks.train.spilled --records 4000000 --fields 40

Random ids in sessions of eight records. An epoch is read from memory, from the file, and from the file when
the system's cache of it was given up before: then every block comes from the disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.train.figures import Figure, ratio
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.inputs import SHUFFLED, Batcher, RecordTable, epoch_plan
from rmtl_tf.packed import PackedFeatures
from rmtl_tf.spill import SpillWriter

BATCH, SESSION, TASKS = 2048, 8, 2


def tables(records: int, fields: int, folder: Path) -> tuple[RecordTable, RecordTable]:
    """The same records twice: in memory, and with the features in a file."""
    spec = InputSpec(categorical=tuple((f"field_{i}", 1000) for i in range(fields)), numeric=(), ids=())
    random, rows = np.random.default_rng(0), np.arange(records)
    memory = RecordTable(
        features={name: random.integers(2, 1000, records, np.int32) for name, _ in spec.categorical},
        labels=np.zeros((records, TASKS), np.float32),
        timestamp=rows,
        session=(rows // SESSION).astype(np.int32),
        length=np.full(records, SESSION, np.float32),
        lookahead=np.zeros(records, bool),
        done=rows % SESSION == SESSION - 1,
        windows=np.arange(0, records + 1, SESSION),
    )
    features = PackedFeatures.of(memory.features)
    writer = SpillWriter(folder, features.packing)
    writer.append(features.matrix)
    return replace(memory, features=features), replace(memory, features=writer.finish())


def size_of(table: RecordTable) -> int:
    """Bytes of the features."""
    return PackedFeatures.of(table.features).matrix.nbytes


def forget(table: RecordTable) -> None:
    """Gives up the system's cache of the table's file."""
    for folder in Path("/proc/self/fd").iterdir():
        if folder.exists() and os.stat(folder).st_size == size_of(table):
            os.posix_fadvise(int(folder.name), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds(table: RecordTable, plan: np.ndarray) -> float:
    """Of making all batches of the plan, a new `Batcher`'s start included."""
    began = time.perf_counter()
    for _ in Batcher(table).batches(plan):
        pass
    return time.perf_counter() - began


def main(given: Sequence[str] | None = None) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--fields", type=int, default=40)
    parser.add_argument("--shuffled", type=int, default=SHUFFLED)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk that is measured")
    arguments = parser.parse_args(given)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        memory, disk = tables(arguments.records // SESSION * SESSION, arguments.fields, Path(folder))
        print(f"{memory.rows:,} records, {size_of(memory) / 2**30:.2f} GiB of features")
        taken: dict[str, list[float]] = {"memory": [], "file": [], "file, cold": []}
        for number in range(arguments.rounds):
            plan = epoch_plan(memory, BATCH, seed=0, epoch=number, shuffled=arguments.shuffled)
            taken["memory"].append(seconds(memory, plan))
            taken["file"].append(seconds(disk, plan))
            forget(disk)
            taken["file, cold"].append(seconds(disk, plan))
    for name, values in taken.items():
        rate = Figure.of(memory.rows / np.array(values))
        slower = ratio(np.array(values), np.array(taken["memory"]))
        print(f"{name:<12}{rate.median:>14,.0f} records/s   x {slower.show()} of memory's time")


if __name__ == "__main__":
    main()
