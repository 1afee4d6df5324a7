"""A model of each kind, exported and pushed, and a server of it: TF Serving too where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from rmtl_tf import serving_versions
from rmtl_tf.backbones import SharedBottom
from rmtl_tf.export.saved_model import export_saved_model
from rmtl_tf.export.score import ScoreFormula
from rmtl_tf.export.warmup import write_warmup
from rmtl_tf.features.graph import Categorical, Numeric, TimePart, TransformGraph
from rmtl_tf.features.spec import HistorySpec, HistoryTask
from rmtl_tf.schema import Task
from serving.plain_server import PlainServer

GRAPH = TransformGraph(
    features=(
        Categorical("user", ("ann", "bob"), is_id=True),
        Categorical("item", tuple(f"i{n}" for n in range(20)), is_id=True),
        Categorical("tag", ("red", "blue"), max_values=2),
        Numeric("price", 1.0, 2.0),
        TimePart("hour", "t"),
    ),
    tasks=(Task("click"), Task("buy")),
    labels=("click", "buy"),
    timestamp="t",
)
HISTORY = HistorySpec("mean", 3, 1, "item", ("item", "price"), (HistoryTask("click", "click", 0),))
CANDIDATES = ("item", "tag", "price")


def export(directory: Path, seed: int, history: HistorySpec | None = HISTORY) -> Path:
    """A small SavedModel; each seed has other weights."""
    GRAPH.save(directory / "graph")
    spec = replace(GRAPH.input_spec(), history=history)
    backbone = SharedBottom(spec, GRAPH.tasks, embedding_dim=4, bottom=(8,), tower=(4,), seed=seed)
    score, target = ScoreFormula({"click": 1.0, "buy": 2.0}), directory / "model"
    export_saved_model(backbone, GRAPH, directory / "graph", score, target, history, CANDIDATES)
    raw = {
        "user": np.array([b"ann"] * 2),
        "item": np.array([b"i1", b"i2"]),
        "tag": np.array([[b"red"], [b"blue"]]),
        "price": np.float32([1, 2]),
        "t": np.int64([0, 1]),
    }
    if history is not None:
        raw["history_item"] = np.array([[b"i3"], [b"i4"]])
        raw["history_price"] = np.float32([[1], [2]])
        raw["history_click"] = np.int64([[2], [3]])
    write_warmup(directory / "warmup", raw, CANDIDATES)
    return target


@dataclass(frozen=True)
class Served:
    """A running server of the model base path `directory`, whose name is the model's."""

    kind: str
    directory: Path
    grpc: str
    rest: str
    models: tuple[Path, ...]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two SavedModels with other weights, each beside its `warmup`."""
    return tuple(export(tmp_path_factory.mktemp(f"seed{seed}"), seed) for seed in (1, 2))


def push(model: Path, directory: Path, label: str = "stable", keep: int = 5) -> int:
    return serving_versions.push(model, directory, keep, model.parent / "warmup", label).version


@pytest.fixture(
    scope="module",
    params=["plain", *(["tensorflow_model_server"] * bool(shutil.which("tensorflow_model_server")))],
)
def served(
    request: pytest.FixtureRequest, models: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Version 1 is stable, version 2 the canary."""
    directory = tmp_path_factory.mktemp(f"serving-{request.param}") / "shop"
    push(models[0], directory)
    push(models[1], directory, "canary")
    if request.param == "plain":
        with PlainServer(directory, poll_seconds=0.05) as server:
            yield Served("plain", directory, server.grpc_address, server.rest_address, models)
        return
    config = directory / "models.config"
    config.write_text(config.read_text().replace("/models/shop", str(directory)))
    ports = [_free_port(), _free_port()]
    command = ["tensorflow_model_server", f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
    command += [f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"]
    process = subprocess.Popen([*command, "--file_system_poll_wait_seconds=1"])
    try:
        _wait(ports[1])
        yield Served(request.param, directory, f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", models)
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")
