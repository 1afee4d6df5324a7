"""What is measured of one backbone: a part each, as JSON, so that parts can be taken at different times."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.serving.load import KEEP, running_server
from benchmarks.serving.models import CANDIDATES, make_graph, make_rows
from benchmarks.train.setting import Setting
from benchmarks.train.weights import named_weights
from benchmarks.train.worker import TORCH_PYTHON
from rmtl_tf import serving_versions
from rmtl_tf.export.probe import to_request
from rmtl_tf.export.saved_model import ServingModel
from rmtl_tf.export.score import ScoreFormula
from rmtl_tf.export.warmup import warm_up
from serving.client import GrpcClient
from serving.in_process import SessionModel

ROOT = Path(__file__).resolve().parents[2]
BATCHES = (1, 100, 1000)
KERAS_TEXT, KERAS_IDS = "compiled Keras, from text", "compiled Keras, from ids"
SESSION, EAGER = "SavedModel in a session", "SavedModel by `tf.saved_model.load`"
RANK = "SavedModel in a session, `rank`: one context, candidates"
GRPC = "gRPC, one client"
_LOADS = 5
IN_A_ROW = 50


def timed(call: Callable[[], Any]) -> float:
    """Milliseconds of a call."""
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def percentiles(milliseconds: Any) -> list[float]:
    """[p50, p99]."""
    return [float(value) for value in np.percentile(milliseconds, [50, 99])]


def in_turns(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """[p50, p99] milliseconds of every call: some in a row, as a server makes them, then some of the next, so
    that a slow moment slows all."""
    for call in calls.values():
        for _ in range(20):
            call()
    spent: dict[str, list[float]] = {name: [] for name in calls}
    while min(map(len, spent.values())) < repeats:
        for name, call in calls.items():
            call()  # the processor's caches hold what the call before this one read
            spent[name] += [timed(call) for _ in range(min(IN_A_ROW, repeats))]
    return {name: percentiles(values) for name, values in spent.items()}


def process(folder: Path, backbone: Any, repeats: int) -> dict[str, Any]:
    """{"times", "first"}: calls in this process, from arrays of text to arrays of probabilities."""
    graph = make_graph()
    score = ScoreFormula.of({}, "product", [task.name for task in graph.tasks])
    bare = ServingModel(lambda inputs: backbone(inputs, training=False), graph, folder / "graph", score)
    from_ids, from_text = tf.function(bare.outputs), tf.function(bare.predict)
    session = SessionModel(folder / "model")
    eager = tf.saved_model.load(str(folder / "model")).signatures["serving_default"]
    times: dict[str, Any] = {}
    for batch in BATCHES:
        rows = {name: values.astype(object) for name, values in make_rows(batch).items()}
        request = to_request(rows, CANDIDATES)
        ids = {name: value.numpy() for name, value in bare.encoder(tensors(rows)).items()}
        calls = {
            KERAS_IDS: lambda i=ids: arrays(from_ids(tensors(i))),
            KERAS_TEXT: lambda r=rows: arrays(from_text(tensors(r))),
            EAGER: lambda r=rows: arrays(eager(**tensors(r))),
            SESSION: lambda r=rows: session.predict(r),
            RANK: lambda r=request: session.predict(r, "rank"),
        }
        for name, found in in_turns(calls, repeats).items():
            times.setdefault(name, {})[str(batch)] = found
    return {"times": times, "first": first_call(folder)}


def tensors(values: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(array) for name, array in values.items()}


def arrays(outputs: Mapping[str, tf.Tensor]) -> list[np.ndarray]:
    return [value.numpy() for value in outputs.values()]


def first_call(folder: Path) -> dict[str, float]:
    """Median milliseconds of the first call with one record after loading: as it is, and warmed up."""
    rows = {name: values.astype(object) for name, values in make_rows(1).items()}
    spent: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(_LOADS):
        for kind, taken in spent.items():
            model = SessionModel(folder / "model")
            if kind == "warm":
                warm_up(model.predict, folder / "warmup")
            taken.append(timed(lambda m=model: m.predict(rows)))
            model.close()
    return {kind: float(np.median(taken)) for kind, taken in spent.items()}


def grpc(folder: Path, backbone: Any, repeats: int) -> dict[str, Any]:
    """{"times", "rates"}: one client's milliseconds; requests a second of two without a pause, by batch."""
    directory = folder / "serving" / "shop"
    serving_versions.push(folder / "model", directory, KEEP, folder / "warmup")
    times, rates = {}, {}
    with running_server(directory) as (address, _), GrpcClient(address, "shop", timeout=60) as client:
        for batch in BATCHES:
            rows = make_rows(batch)
            times[str(batch)] = in_turns({"": lambda r=rows: client.predict(r)}, repeats)[""]
            rates[str(batch)] = _rate(client, rows)
    return {"times": {GRPC: times}, "rates": rates}


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


def torch(folder: Path, backbone: Any, repeats: int) -> dict[str, Any]:
    """{"times", "error", "missing"}: the same weights in PyTorch, from the same text and from ids; the
    largest difference of a probability; which forms could not run, and why."""
    if not TORCH_PYTHON.exists():
        return {"times": {}, "error": None, "missing": f"no {TORCH_PYTHON}: `make bench-serving` creates it"}
    rows = make_rows(max(BATCHES))
    (folder / "text.json").write_text(
        json.dumps({name: [value.decode() for value in values.tolist()] for name, values in rows.items()})
    )
    graph = make_graph()
    vocabularies = {feature.name: list(feature.vocabulary) for feature in graph.features}  # type: ignore[union-attr]
    (folder / "vocabularies.json").write_text(json.dumps(vocabularies))
    np.savez(folder / "weights.npz", **named_weights(backbone))
    asked = {
        "setting": Setting(backbone.name, rows=len(vocabularies["f0"]) + 2).to_json(),
        "weights": str(folder / "weights.npz"),
        "text": str(folder / "text.json"),
        "vocabularies": str(folder / "vocabularies.json"),
        "batches": BATCHES,
        "repeats": repeats,
    }
    command = [str(TORCH_PYTHON), "-m", "benchmarks.serving.torch_inference"]
    done = subprocess.run(
        command, cwd=ROOT, input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    ours = SessionModel(folder / "model").predict({name: values[:100] for name, values in rows.items()})
    probabilities = np.stack([ours[task.name] for task in graph.tasks], axis=1)
    error = float(np.abs(probabilities - np.array(answer["probabilities"])).max())
    times = {
        f"PyTorch, {form}, from {start}": {
            str(batch): percentiles(milliseconds) for batch, milliseconds in by_batch.items()
        }
        for form, by_start in answer["milliseconds"].items()
        for start, by_batch in by_start.items()
    }
    return {"times": times, "error": error, "missing": answer["missing"]}


PARTS: dict[str, Callable[[Path, Any, int], dict[str, Any]]] = {
    "process": process,
    "torch": torch,
    "grpc": grpc,
}


def busy() -> float:
    """How many processes wanted a core in the last minute."""
    return os.getloadavg()[0]
