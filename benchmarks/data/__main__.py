"""Speed and memory of the data side, beside the same job in plain polars, as one table: make bench-data.

Logs in RetailRocket's published format are simulated at its published size, and at eleven times it for the
claim that memory does not grow. Jobs of a round follow each other at once and ratios are of medians, so
another program on the machine disturbs them little. `cpu` is processor time of all threads in seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rmtl_tf.data.retailrocket_simulator import EVENTS, simulate_retailrocket
from rmtl_tf.files import digest_json, digest_tree

OUTPUTS = ("examples", "statistics", "graph", "transformed")


def measure(job: str, logs: Path, work: Path, options: Sequence[str] = ()) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data.jobs", job, str(logs), str(work), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def logs_of(root: Path, events: int) -> Path:
    directory = root / f"logs-{events}"
    if not directory.is_dir():
        print(f"simulating {events:,} events ...", flush=True)
        aside = root / f".logs-{events}"
        simulate_retailrocket(aside, events, properties=1000)
        aside.rename(directory)
    return directory


def row(name: str, results: Sequence[dict[str, float]], note: str = "") -> float:
    """Prints the medians of a job's runs; returns its seconds."""
    seconds = statistics.median(result["seconds"] for result in results)
    peak = max(result["peak_gb"] for result in results)
    cpu = statistics.median(result["cpu_seconds"] for result in results)
    rate = results[0]["rows"] / seconds / 1e6
    print(f"{name:34} {seconds:8.1f} {cpu:7.1f} {rate:9.2f} {peak:8.2f}   {note}", flush=True)
    return seconds


def digest(work: Path) -> str:
    return digest_json({name: digest_tree(work / name) for name in OUTPUTS})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--large", type=int, default=30_000_000, help="events of the memory run; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path, help="keep logs and outputs here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-data-") as scratch:
        run(given.root or Path(scratch), given.events, given.large, given.rounds)


def run(root: Path, events: int, large: int, rounds: int) -> None:
    logs, work = logs_of(root, events), root / "work"
    jobs = ("plain", "example_gen", "transform", "read", "write_long", "read_long")
    results: dict[str, list[dict[str, float]]] = {job: [] for job in jobs}
    for _ in range(rounds):
        for job in jobs:
            results[job].append(measure(job, logs, work))
    print(f"\n{'job':34} {'seconds':>8} {'cpu':>7} {'M rows/s':>9} {'peak GB':>8}")
    base = row("plain polars to TFRecords", results["plain"])
    made = row("ExampleGen", results["example_gen"])
    changed = row("Transform", results["transform"])
    both = made + changed
    rows = results["example_gen"][0]["rows"]
    print(f"{'ExampleGen and Transform':34} {both:8.1f} {'':7} {rows / both / 1e6:9.2f}")
    row("records to ragged batches", results["read"])
    row("... of sessions of 20 records", results["read_long"])
    print(f"\nExampleGen / plain polars: {made / base:.2f}")

    expected = digest(work)
    for workers in (1, 2, 4):
        options = (f"direct_num_workers={workers}",)
        again = root / f"workers-{workers}"
        for job in ("example_gen", "transform"):
            row(f"{job}, {workers} threads", [measure(job, logs, again, options)])
        print(f"  the bytes of the default run: {digest(again) == expected}")
    if large:
        many = logs_of(root, large)
        for job in ("example_gen", "transform"):
            row(f"{job}, {large:,} events", [measure(job, many, root / "large")])


if __name__ == "__main__":
    main()
