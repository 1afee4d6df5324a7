"""`make bench-serving`: milliseconds of a request at the paper's size, in docs/performance-serving.md."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.document import machine, rewrite, table
from benchmarks.serving.load import KEEP, running_server
from benchmarks.serving.models import export_model, make_graph, make_rows
from benchmarks.train.setting import Setting
from benchmarks.train.weights import named_weights
from benchmarks.train.worker import TORCH_PYTHON
from rmtl_tf import serving_versions
from rmtl_tf.config import ModelConfig
from rmtl_tf.export.saved_model import ServingModel
from rmtl_tf.export.score import ScoreFormula
from rmtl_tf.export.warmup import replay_warmup
from serving.client import GrpcClient

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance-serving.md"
BATCHES = (1, 100, 1000)
BACKBONES = ("shared_bottom", "mmoe")
Times = dict[str, dict[int, np.ndarray]]


def timed(call: Callable[[], Any]) -> float:
    """Milliseconds of a call."""
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def in_turns(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Milliseconds of every call, taken in turn so that a slow moment slows all."""
    for call in calls.values():
        for _ in range(20):
            call()
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            spent[name].append(timed(call))
    return {name: np.array(values) for name, values in spent.items()}


def in_process(folder: Path, backbone: Any, repeats: int) -> Times:
    """The bare compiled model from ids and from text, and the SavedModel's signatures."""
    graph = make_graph()
    score = ScoreFormula.of({}, "product", [task.name for task in graph.tasks])
    model = ServingModel(backbone, graph, folder / "graph", score)
    served = tf.saved_model.load(str(folder / "model"))
    replay_warmup(served, folder / "warmup")
    from_ids, from_text = tf.function(model.outputs), tf.function(model.predict)
    times: Times = {}
    for batch in BATCHES:
        rows = {name: tf.constant(values, tf.string) for name, values in make_rows(batch).items()}
        ids = {name: tf.constant(values) for name, values in model.encoder(rows).items()}
        signature = served.signatures["serving_default"]
        calls = {
            "compiled Keras, from ids": lambda i=ids: _numpy(from_ids(i)),
            "compiled Keras, from text": lambda r=rows: _numpy(from_text(r)),
            "SavedModel, `serving_default`": lambda r=rows, f=signature: _numpy(f(**r)),
        }
        for name, values in in_turns(calls, repeats).items():
            times.setdefault(name, {})[batch] = values
    return times


def _numpy(outputs: Mapping[str, tf.Tensor]) -> list[np.ndarray]:
    return [value.numpy() for value in outputs.values()]


def first_call(folder: Path) -> tuple[float, float]:
    """Milliseconds of the first call with one record after loading: as it is, and after its warm-up."""
    rows = {name: tf.constant(values, tf.string) for name, values in make_rows(1).items()}
    spent = []
    for warm in (False, True):
        served = tf.saved_model.load(str(folder / "model"))
        if warm:
            replay_warmup(served, folder / "warmup")
        spent.append(timed(lambda f=served.signatures["serving_default"]: _numpy(f(**rows))))
    return spent[0], spent[1]


def by_grpc(folder: Path, repeats: int) -> tuple[dict[int, np.ndarray], dict[int, float]]:
    """Milliseconds of one client, and requests a second of two without a pause, by batch."""
    directory = folder / "serving" / "shop"
    serving_versions.push(folder / "model", directory, KEEP, folder / "warmup")
    times, rates = {}, {}
    with running_server(directory) as (address, _), GrpcClient(address, "shop", timeout=60) as client:
        for batch in BATCHES:
            rows = make_rows(batch)
            times[batch] = in_turns({"": lambda r=rows: client.predict(r)}, repeats)[""]
            rates[batch] = _rate(client, rows)
    return times, rates


def _rate(client: Any, rows: Mapping[str, np.ndarray], seconds: float = 3.0) -> float:
    done, stop = [0, 0], time.monotonic() + seconds

    def loop(number: int) -> None:
        while time.monotonic() < stop:
            client.predict(rows)
            done[number] += 1

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def by_torch(folder: Path, setting: Setting, backbone: Any, repeats: int) -> tuple[Times, str, float]:
    """PyTorch's milliseconds, why a form is missing, and the largest difference of its probabilities."""
    graph, rows = make_graph(), make_rows(max(BATCHES))
    encoder = ServingModel(backbone, graph, folder / "graph", ScoreFormula({"click": 1.0})).encoder
    encoded = encoder({name: tf.constant(values, tf.string) for name, values in rows.items()})
    ids = np.stack([encoded[name].numpy() for name in graph.raw], axis=1).astype(np.int64)
    np.save(folder / "ids.npy", ids)
    np.savez(folder / "weights.npz", **named_weights(backbone))
    asked = {
        "setting": setting.to_json(),
        "weights": str(folder / "weights.npz"),
        "ids": str(folder / "ids.npy"),
        "batches": BATCHES,
        "repeats": repeats,
    }
    command = [str(TORCH_PYTHON), "-m", "benchmarks.serving.torch_inference"]
    done = subprocess.run(
        command, cwd=ROOT, input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    ours = tf.sigmoid(backbone({k: v[:100] for k, v in encoded.items()}, training=False)).numpy()
    error = float(np.abs(ours - np.array(answer["probabilities"])).max())
    times = {
        f"PyTorch, {name}, from ids": {int(batch): np.array(values) for batch, values in answer[name].items()}
        for name in ("eager", "torchscript", "compile")
        if name in answer
    }
    return times, answer.get("compile_error", ""), error


def report(results: Mapping[str, dict[str, Any]], repeats: int) -> str:
    """The section of the page: one table a backbone, then the goals and what was reached."""
    busy = os.getloadavg()[0]
    lines = [
        f"{machine()} {repeats} calls each, forms in one process in turn. Load of the machine at the end: "
        f"{busy:.1f} (2 cores: above 2 others were working too, and p99 shows it).",
    ]
    for backbone, result in results.items():
        rows = []
        for name, times in result["times"].items():
            cells = [f"{np.percentile(t, 50):.2f} / {np.percentile(t, 99):.2f}" for t in times.values()]
            rows.append([name, *cells])
        header = ["milliseconds, p50 / p99", *(f"batch {batch} " for batch in BATCHES)]
        rates = ", ".join(f"{rate:.0f} at batch {batch}" for batch, rate in result["rates"].items())
        cold, warm = result["first"]
        times = result["times"]
        saved, bare = times["SavedModel, `serving_default`"], times["compiled Keras, from text"]
        ids = times["compiled Keras, from ids"]
        ratio = ", ".join(f"{np.median(saved[b]) / np.median(bare[b]):.2f}" for b in BATCHES)
        lines += ["", f"**{backbone}**, paper's size", "", table(header, rows), ""]
        lines += [
            f"- Requests a second by gRPC, two clients: {rates}.",
            f"- First call after loading: {cold:.1f} ms as it is, {warm:.2f} ms after `replay_warmup` (goal: "
            f"2 x p99 = {2 * np.percentile(saved[1], 99):.2f}).",
            f"- SavedModel / compiled Keras from text, median, batch {', '.join(map(str, BATCHES))}: {ratio} "
            "(goal: 1.10).",
        ]
        peers = {name: t for name, t in times.items() if name.startswith("PyTorch")}
        if peers:
            gains = ", ".join(
                f"{min(np.median(t[b]) for t in peers.values()) / np.median(ids[b]):.2f}" for b in BATCHES
            )
            lines.append(
                f"- PyTorch's fastest form / compiled Keras, both from ids: {gains} (goal: 1.5); largest "
                f"difference of a probability {result['error']:.1e}."
            )
        if result["compile_error"]:
            lines.append(f"- `torch.compile` did not run here: {result['compile_error']}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=500, help="calls for each figure (default: 500)")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, metavar="NAME")
    given = parser.parse_args()
    results = {}
    for name in given.backbones:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            setting = Setting(name, rows=len(make_graph().features[0].vocabulary) + 2)  # type: ignore[union-attr]
            backbone = export_model(folder, ModelConfig(backbone=name), make_graph(), seed=0)
            times = in_process(folder, backbone, given.repeats)
            first = first_call(folder)
            grpc_times, rates = by_grpc(folder, given.repeats)
            times["gRPC, one client"] = grpc_times
            reason, error = "no environment of PyTorch: make bench creates it", 0.0
            if TORCH_PYTHON.exists():
                peers, reason, error = by_torch(folder, setting, backbone, given.repeats)
                times |= peers
            results[name] = {
                "times": times,
                "first": first,
                "rates": rates,
                "compile_error": reason,
                "error": error,
            }
    content = report(results, given.repeats)
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), "serving", content), encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()
