"""`python -m benchmarks.serving.load --minutes 10`: two clients without a pause, five versions pushed.

The clients are closed loops by gRPC, so the load is the most that two of them get from one server process
(`serving.plain_server`) on this machine. Expected: no failed request, and memory that does not grow.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from rmtl_tf import serving_versions
from rmtl_tf.config import ModelConfig
from serving.client import Client, GrpcClient, Retry, ServingError

ROOT = Path(__file__).resolve().parents[2]
PAPER = ModelConfig(backbone="shared_bottom")
KEEP = 2


@dataclass
class Result:
    """What happened.

    Attributes:
        milliseconds: of every request, in the order they ended, all clients together.
        failures: message of every request that failed.
        versions: the versions that were seen serving.
        memory: MB of the server's process, one number a sample.
    """

    milliseconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    memory: list[float] = field(default_factory=list)

    def growth(self) -> float:
        """Share by which the median memory of the last fifth lies above that of the second fifth."""
        fifth = max(1, len(self.memory) // 5)
        second, last = self.memory[fifth : 2 * fifth] or self.memory, self.memory[-fifth:]
        return float(np.median(last) / np.median(second) - 1)


@contextmanager
def running_server(directory: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server of `directory` in a process of its own: its address and its process."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    command = [sys.executable, "-m", "serving.plain_server", str(directory)]
    command += ["--port", str(ports[0]), "--rest-port", str(ports[1])]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(command, cwd=ROOT, env=quiet, stderr=subprocess.DEVNULL)
    try:
        _wait(ports[0], process)
        yield f"127.0.0.1:{ports[0]}", psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def load(
    directory: Path, models: list[Path], seconds: float, candidates: dict[str, np.ndarray], clients: int = 2
) -> Result:
    """Pushes the first model, serves it, and pushes the others at equal distances while the clients call.

    Args:
        directory: model base path.
        models: folders with `model` and `warmup`, as `benchmarks.serving.models` exports them.
        candidates: what every request sends, {input: [N]}.
    """
    result, stop = Result(), threading.Event()
    _push(models[0], directory)
    with running_server(directory) as (address, process):
        threads = [
            threading.Thread(target=_call, args=(address, directory.name, candidates, stop, result))
            for _ in range(clients)
        ]
        for thread in threads:
            thread.start()
        began, waiting = time.monotonic(), models[1:]
        with GrpcClient(address, directory.name, timeout=60) as watch:
            # Longer, until the last version serves: under load it takes its time to be read.
            while (passed := time.monotonic() - began) < seconds or len(result.versions) < len(models):
                if passed > seconds + 120:
                    raise RuntimeError(f"only versions {sorted(result.versions)} came to serve")
                pushed = len(models) - 1 - len(waiting)
                if waiting and passed >= seconds * (pushed + 1) / (len(models) + 0.5):
                    _push(waiting.pop(0), directory)
                result.memory.append(process.memory_info().rss / 2**20)
                result.versions.update(watch.versions())
                time.sleep(min(1.0, seconds / 50))
        stop.set()
        for thread in threads:
            thread.join()
    return result


def _call(
    address: str, name: str, candidates: dict[str, np.ndarray], stop: threading.Event, result: Result
) -> None:
    # One attempt: a failure that a retry would hide is a failure here.
    client: Client
    with GrpcClient(address, name, label="stable", timeout=60, retry=Retry(attempts=1)) as client:
        while not stop.is_set():
            began = time.perf_counter()
            try:
                answer = client.predict(candidates)
                if not np.isfinite(answer["score"]).all():
                    result.failures.append("a score is not finite")
            except ServingError as error:
                result.failures.append(str(error))
            result.milliseconds.append(1000 * (time.perf_counter() - began))


def _push(folder: Path, directory: Path) -> None:
    serving_versions.push(folder / "model", directory, KEEP, folder / "warmup")


def _wait(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--versions", type=int, default=5, help="pushed while it runs (default: 5)")
    parser.add_argument("--batch", type=int, default=1, help="records a request (default: 1)")
    given = parser.parse_args()
    from benchmarks.serving.models import export_model, make_graph, make_rows

    with tempfile.TemporaryDirectory() as folder:
        models = [Path(folder) / f"seed{seed}" for seed in range(given.versions + 1)]
        for seed, path in enumerate(models):
            export_model(path, PAPER, make_graph(), seed)
        result = load(Path(folder) / "shop", models, 60 * given.minutes, make_rows(given.batch))
    times = np.array(result.milliseconds)
    print(
        f"{len(times)} requests of {given.batch} in {given.minutes:g} minutes "
        f"({len(times) / given.minutes / 60:.0f} a second), {len(result.failures)} failed; "
        f"p50 {np.percentile(times, 50):.2f} ms, p99 {np.percentile(times, 99):.2f} ms, "
        f"longest {times.max():.0f} ms; versions {sorted(result.versions)}; memory of the server "
        f"{result.memory[0]:.0f} MB at first, {max(result.memory):.0f} at most, "
        f"{result.memory[-1]:.0f} at last, last fifth against second fifth {100 * result.growth():+.1f} %"
    )
    for failure in result.failures[:5]:
        print(failure, file=sys.stderr)
    if result.failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
