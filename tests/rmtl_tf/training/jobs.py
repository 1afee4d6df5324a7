"""Trainings in processes of their own: a small job on disk, workers that are started and killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rmtl_tf.config import FeedbackConfig, ModelConfig, TrainingConfig
from rmtl_tf.features.graph import Categorical, Numeric, TransformGraph
from rmtl_tf.files import write_json
from rmtl_tf.schema import Task
from rmtl_tf.training.job import TrainingJob
from tests.conftest import make_table

ROOT = Path(__file__).parents[3]
SCHEMA = """
feature { name: "user" type: BYTES annotation { tag: "user" tag: "context" } }
feature { name: "item" type: BYTES annotation { tag: "item" tag: "step" } }
feature { name: "price" type: FLOAT annotation { tag: "step" } }
feature { name: "t" type: INT annotation { tag: "timestamp" } }
feature { name: "click" type: INT annotation { tag: "label:click" } }
feature { name: "buy" type: INT annotation { tag: "label:buy" tag: "parent:click" } }
"""
GRAPH = TransformGraph(
    features=(
        Categorical("user", tuple("abcde"), is_id=True),
        Categorical("item", tuple("abcdefghi"), is_id=True),
        Numeric("price", 0.0, 1.0),
    ),
    tasks=(Task("click"), Task("buy", parent="click")),
    labels=("click", "buy"),
    timestamp="t",
)
MODEL = ModelConfig(
    backbone="shared_bottom", embedding_dim=4, bottom=(8,), tower=(4,), dropout=0.0, id_dropout=0.0
)
# What needs more than its own record: omega of Q, divided by its mean over the batch.
RMTL = {"name": "rmtl", "lambda": 2.0, "power": -1.0, "normalise": "batch", "temperature": 2.0}
TRAINING = {
    "batch_size": 64,
    "shards": 2,
    "arms": [
        "control",
        {"name": "rmtl", "weighting": RMTL},
    ],
    "critic": {"bottom": [8], "action": 4, "tower": [4], "dropout": 0.0, "max_epochs": 1},
    "pretrain": {"max_epochs": 2, "patience": 9, "learning_rate": 1e-2},
    "finetune": {"max_epochs": 1, "learning_rate": 1e-2},
    "checkpoint_steps": 2,
}


def write_split(split: Path, sessions: int, files: int, seed: int) -> None:
    """Transformed Examples of random sessions, one a window, in `files` files of unequal length."""
    import tensorflow as tf

    lengths = np.random.default_rng(seed).integers(1, 9, sessions)
    table = make_table(lengths, spec=GRAPH.input_spec(), seed=seed)
    split.mkdir(parents=True)
    edges = np.linspace(0, 1, files + 1) ** 1.3 * sessions
    for number in range(files):
        path = split / f"data-{number:05d}-of-{files:05d}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for window in range(int(edges[number]), int(edges[number + 1])):
                rows = slice(table.windows[window], table.windows[window + 1])
                ints = {name: table.features[name][rows] for name in ("user", "item")}
                ints |= {"t": table.timestamp[rows], "lookahead": [0]}
                ints |= {label: table.labels[rows, k] for k, label in enumerate(GRAPH.labels)}
                feature = {
                    name: tf.train.Feature(int64_list=tf.train.Int64List(value=np.asarray(values, np.int64)))
                    for name, values in ints.items()
                }
                floats = tf.train.FloatList(value=table.features["price"][rows])
                feature["price"] = tf.train.Feature(float_list=floats)
                session = tf.train.BytesList(value=[b"s%d" % window])
                feature["session_id"] = tf.train.Feature(bytes_list=session)
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())


def write_data(folder: Path) -> Path:
    """What a job reads, below `folder`."""
    write_split(folder / "transformed" / "Split-train", sessions=150, files=4, seed=1)
    write_split(folder / "transformed" / "Split-validation", sessions=60, files=2, seed=2)
    GRAPH.save(folder / "graph")
    (folder / "schema.pbtxt").write_text(SCHEMA)
    return folder


def make_job(data: Path, directory: Path, **training) -> TrainingJob:
    """A training on `data` that writes into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    return TrainingJob(
        transformed=str(data / "transformed"),
        transform_graph=str(data / "graph"),
        data_schema=str(data / "schema.pbtxt"),
        feedback=FeedbackConfig(),
        model=MODEL,
        training=TrainingConfig(**{**TRAINING, **training}),
        seed=3,
        directory=str(directory),
        earlier=None,
    )


def write_job(job: TrainingJob, file: Path) -> Path:
    write_json(file, job.model_dump(mode="json", by_alias=True))
    return file


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def tf_config(cluster: dict[str, list[str]], kind: str, index: int) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


def start(arguments: list[str], config: str | None = None, log: Path | None = None) -> subprocess.Popen:
    """`python ARGUMENTS` from the repository's root, its lines in `log`."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("TF_CONFIG", None)
    if config is not None:
        environment["TF_CONFIG"] = config
    stream = subprocess.DEVNULL if log is None else log.open("ab")
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=stream, stderr=stream
    )


@contextmanager
def ended(*processes: subprocess.Popen):
    """Nothing is left behind, whatever happens."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


def children(process: subprocess.Popen) -> list[int]:
    """The processes that `process` started."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(number) for number in text.split()]


def wait_until(happened, seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
