"""Memory of a whole three-phase training whose embedding tables dominate, beside what was foretold of it.

    python benchmarks/train/big_tables.py --rows 10000000 --width 32

Random ids in 7 inputs, half of all rows in one of them; a small network, so that all but tables is little.
Prints the resident memory at the peak of each phase, the estimate that training prints before it starts, and
seconds. With 10 M rows it needs some 10 GB of memory and 6 GB of disk for each phase's checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import psutil

GIB = 2**30
SHARES = {"item": 0.5, "user": 0.3, "seller": 0.1, "tag": 0.05, "brand": 0.03, "city": 0.01, "other": 0.01}


class Peak(threading.Thread):
    """Samples this process' resident memory; the largest value of each phase."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.phase = "start"
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self._process, self._running, self._since = psutil.Process(), True, time.perf_counter()

    def enter(self, phase: str) -> None:
        self.seconds[self.phase] = time.perf_counter() - self._since
        self.phase, self._since = phase, time.perf_counter()

    def run(self) -> None:
        while self._running:
            self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), self._process.memory_info().rss)
            time.sleep(0.005)

    def stop(self) -> None:
        self.enter("")
        self._running = False
        self.join()


def make_problem(rows: int, records: int, seed: int = 0):
    """Sessions of 8 records with random ids; `rows` in all tables together."""
    from rmtl_tf.features.spec import InputSpec
    from rmtl_tf.inputs import RecordTable
    from rmtl_tf.schema import Task
    from rmtl_tf.training.problem import Problem

    sizes = {name: max(3, int(rows * share)) for name, share in SHARES.items()}
    spec = InputSpec(categorical=tuple(sizes.items()), ids=("user", "item"))

    def table(seed: int) -> RecordTable:
        random = np.random.default_rng(seed)
        session = np.repeat(np.arange(records // 8), 8).astype(np.int32)
        n = len(session)
        features = {name: random.integers(2, size, n).astype(np.int32) for name, size in sizes.items()}
        return RecordTable(
            features=features,
            labels=(random.random((n, 2)) < [0.2, 0.05]).astype(np.float32),
            timestamp=np.arange(n, dtype=np.int64),
            session=session,
            length=np.full(n, 8, np.float32),
            lookahead=np.zeros(n, bool),
            done=np.arange(n) % 8 == 7,
            windows=np.arange(0, n + 1, 8),
        )

    return Problem(spec, (Task("click"), Task("buy", "click")), table(seed), table(seed + 1))


def train(
    rows: int, width: int, records: int, arms: list[str], epochs: int = 2, folder: str | None = None
) -> dict[str, Any]:
    """Trains; bytes at the peak of each phase and seconds, beyond what the process held before."""
    from rmtl_tf.config import ModelConfig, TrainingConfig
    from rmtl_tf.features.graph import TransformGraph
    from rmtl_tf.files import read_json
    from rmtl_tf.training import loop
    from rmtl_tf.training.run import run_training

    problem = make_problem(rows, records)
    graph = TransformGraph((), problem.tasks, problem.names, "t")
    model = ModelConfig(
        backbone="shared_bottom", embedding_dim=width, bottom=(64,), tower=(32,), id_dropout=0.1
    )
    once = {"max_epochs": epochs}
    training = TrainingConfig(
        batch_size=2048,
        arms=arms,
        critic={"bottom": [64], "action": 16, "tower": [32], "max_epochs": epochs},
        pretrain=once,
        finetune=once,
        log_steps=1000,
    )
    peak = Peak()
    run = loop.Phase.run

    def followed(phase: loop.Phase) -> loop.Progress:
        peak.enter(phase.name)
        try:
            return run(phase)
        finally:
            peak.enter(f"after {phase.name}")

    loop.Phase.run = followed  # type: ignore[method-assign]
    base = psutil.Process().memory_info().rss
    peak.start()
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        run_training(problem, graph, None, model, training, 0, Path(directory))
        summary = read_json(Path(directory) / "run.json")
    peak.stop()
    loop.Phase.run = run  # type: ignore[method-assign]
    return {
        "base": base,
        "peaks": {phase: largest - base for phase, largest in peak.peaks.items()},
        "seconds": peak.seconds,
        "measured": max(peak.peaks.values()) - base,
        "estimated": summary["memory"]["peak"],
        "stages": {stage["name"]: stage["bytes"] for stage in summary["memory"]["stages"]},
    }


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--records", type=int, default=16_384)
    parser.add_argument("--arms", nargs="+", default=["control", "paper", "recommended"])
    parser.add_argument("--folder", help="where checkpoints are written; default: a temporary folder")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = train(given.rows, given.width, given.records, given.arms, folder=given.folder)
    size = 4 * given.rows * given.width
    print(f"{'phase':<44}{'peak GiB':>9}{'tables':>8}{'seconds':>9}   (a table is {size / GIB:.2f} GiB)")
    for phase, largest in found["peaks"].items():
        print(f"{phase:<44}{largest / GIB:>9.2f}{largest / size:>8.1f}{found['seconds'][phase]:>9.1f}")
    measured, estimated = found["measured"], found["estimated"]
    print(f"training needs {measured / GIB:.2f} GiB at its peak beside {found['base'] / GIB:.2f} GiB of the")
    print(f"process; estimated {estimated / GIB:.2f} GiB, {estimated / measured:.2f} times as much")


if __name__ == "__main__":
    main()
