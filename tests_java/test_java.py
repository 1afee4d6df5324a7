"""The exported model in TensorFlow Java: the same numbers as in Python.

`make test-java` runs this; without Java or Maven it fails.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from rmtl_tf.backbones import ESMM, PLE
from rmtl_tf.export.parity import hard_records, training_path
from rmtl_tf.export.probe import EXAMPLES, EXAMPLES_INPUT, RANK, RAW, to_examples
from rmtl_tf.export.saved_model import export_saved_model
from rmtl_tf.export.score import ScoreFormula
from rmtl_tf.features.graph import Categorical, Numeric, Rate, TimePart, TransformGraph
from rmtl_tf.features.spec import HistorySpec, HistoryTask
from rmtl_tf.schema import Task
from tests_java import maven

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "bridges.md"
GRAPH = TransformGraph(
    features=(
        Categorical("user_id", ("ann", "bob, jr", "çelik"), is_id=True),
        Categorical("item_id", tuple(f"i{n}" for n in range(20)), is_id=True),
        Numeric("price", 1.0, 2.0, log=True),
        Rate("past_click_rate", "past_click_positive", "past_click_known", 0.2, 2.0, 0.2, 0.1),
        TimePart("hour", "timestamp"),
    ),
    tasks=(Task("click"), Task("buy", parent="click")),
    labels=("click", "buy"),
    timestamp="timestamp",
)
HISTORY = HistorySpec("gru", 3, 1, "item_id", ("item_id", "price"), (HistoryTask("click", "click", 0),))
COUNT, LENGTH = 40, 5
CANDIDATES = ("item_id", "price")


@pytest.fixture(scope="session")
def java() -> list[str]:
    """The command that runs a source file with TensorFlow Java, its native library unpacked in the cache."""
    try:
        jars = maven.fetch(HERE / "pom.xml", "tensorflow-java")
    except RuntimeError as error:
        pytest.fail(str(error))
    unpacked = f"-Dorg.bytedeco.javacpp.cachedir={maven.cache() / 'javacpp'}"
    return ["java", unpacked, "-cp", str(jars / "*")]


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def columns() -> dict:
    rng = np.random.default_rng(0)
    there = np.arange(LENGTH) < rng.integers(0, LENGTH + 1, COUNT)[:, None]
    items = [f"i{n}".encode() for n in range(25)]
    users = [b"ann", b"bob, jr", "çelik".encode(), b"", b"new"]
    return {
        "user_id": pa.array(rng.choice(users, COUNT).tolist(), pa.large_binary()),
        "item_id": pa.array(rng.choice(items, COUNT).tolist(), pa.large_binary()),
        "price": rng.choice(np.float32([0, 3.5, np.nan, 1e30]), COUNT),
        "past_click_known": rng.integers(0, 5, COUNT).astype(np.float32),
        "past_click_positive": rng.integers(0, 3, COUNT).astype(np.float32),
        "timestamp": rng.integers(0, 10**9, COUNT),
        "history_item_id": np.where(there, rng.choice(items, there.shape), b"").astype(object),
        "history_price": np.where(there, rng.choice(np.float32([0, 3.5, 1e30]), there.shape), np.nan),
        "history_click": rng.integers(0, 4, there.shape) * there,
    }


def export(directory: Path, kind: type, history: HistorySpec | None):
    GRAPH.save(directory / "graph")
    sizes = {"embedding_dim": 8, "tower": (8,), "seed": 1}
    backbone = kind(replace(GRAPH.input_spec(), history=history), GRAPH.tasks, **sizes)
    score = ScoreFormula({"click": 1.0, "buy": 2.0})
    target = directory / "model"
    export_saved_model(backbone, GRAPH, directory / "graph", score, target, history, CANDIDATES)
    return target, backbone


def ranked(raw: dict) -> dict:
    """Two requests: the context of the first two records, and the items of each half of all."""
    half = {name: np.asarray(raw[name]).reshape(2, -1) for name in CANDIDATES}
    return {name: values[:2] for name, values in raw.items()} | half


@pytest.mark.parametrize(("kind", "history"), [(PLE, None), (ESMM, HISTORY)], ids=["no history", "history"])
def test_java_answers_every_signature_as_python_does(tmp_path, java, kind, history):
    model, backbone = export(tmp_path, kind, history)
    raw = hard_records(columns(), GRAPH, COUNT, history)
    trained = training_path(backbone, GRAPH, raw, history)
    requests = {RAW: raw, EXAMPLES: {EXAMPLES_INPUT: to_examples(raw)}, RANK: ranked(raw)}
    for signature, inputs in requests.items():
        folder = tmp_path / "requests" / signature / "inputs"
        folder.mkdir(parents=True)
        for name, values in inputs.items():
            (folder / name).write_bytes(tf.make_tensor_proto(values).SerializeToString())
    run([*java, str(HERE / "Answer.java"), str(model), str(tmp_path / "requests")])
    loaded = tf.saved_model.load(str(model))
    assert set(loaded.signatures) == set(requests)
    for signature, inputs in requests.items():
        python = loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        answers = {
            file.name: read(file) for file in (tmp_path / "requests" / signature / "outputs").iterdir()
        }
        order = {"order"} if signature == RANK else set()
        assert set(answers) == set(python) == {"click", "buy", "score"} | order
        for name, values in python.items():
            assert answers[name].dtype == (np.int32 if name in order else np.float32)
            np.testing.assert_allclose(
                answers[name], values, atol=1e-6, rtol=0, err_msg=f"{signature} {name}"
            )
        if signature == RANK:
            continue
        for k, task in enumerate(("click", "buy")):
            np.testing.assert_allclose(answers[task], trained[:, k], atol=1e-6, rtol=0)
            assert np.ptp(answers[task]) > 1e-3


def read(file: Path) -> np.ndarray:
    return tf.make_ndarray(TensorProto.FromString(file.read_bytes()))


def test_the_program_of_the_document_scores_candidates_as_python_does(tmp_path, java):
    program = re.search(r"```java\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "Score.java").write_text(program.group(1), encoding="utf-8")
    model, _ = export(tmp_path, PLE, None)
    lines = run([*java, str(tmp_path / "Score.java"), str(model)]).splitlines()
    items = ["i1", "i2", "never seen"]
    requests = [
        {"user_id": np.array([b"ann"]), "item_id": np.array([i.encode()]), "price": np.float32([9.5])}
        for i in items
    ]
    examples = np.concatenate([to_examples(request) for request in requests])
    expected = tf.saved_model.load(str(model)).signatures[EXAMPLES](examples=tf.constant(examples))
    rows = [line.split("\t") for line in lines]
    assert [row[0] for row in rows] == items
    for column, name in ((1, "click"), (2, "score")):
        received = np.array([row[column] for row in rows], np.float32)
        np.testing.assert_allclose(received, expected[name], atol=1e-6, rtol=0)
