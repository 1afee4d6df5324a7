from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from rmtl_tf.backbones import ESMM
from rmtl_tf.export import probe
from rmtl_tf.export.parity import UNSEEN, hard_records, training_path, write_parity
from rmtl_tf.export.saved_model import export_saved_model
from rmtl_tf.export.score import ScoreFormula
from rmtl_tf.export.warmup import replay_warmup, write_warmup
from rmtl_tf.features.graph import Categorical, Numeric, Rate, TimePart, TransformGraph
from rmtl_tf.features.spec import HistorySpec, HistoryTask
from rmtl_tf.schema import Task

GRAPH = TransformGraph(
    features=(
        Categorical("user", ("ann", "bob, jr", "çelik"), is_id=True),
        Categorical("item", tuple(f"i{n}" for n in range(20)), is_id=True),
        Numeric("price", 1.0, 2.0, log=True),
        Rate("past_click_rate", "past_click_positive", "past_click_known", 0.2, 2.0, 0.2, 0.1),
        TimePart("hour", "t"),
    ),
    tasks=(Task("click"), Task("buy", parent="click")),
    labels=("click", "buy"),
    timestamp="t",
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    directory = tmp_path_factory.mktemp("export")
    GRAPH.save(directory / "graph")
    backbone = ESMM(GRAPH.input_spec(), GRAPH.tasks, embedding_dim=4, bottom=(8,), tower=(4,), seed=1)
    score = ScoreFormula({"click": 1.0, "buy": 2.0})
    export_saved_model(backbone, GRAPH, directory / "graph", score, directory / "model")
    return directory / "model", backbone


def columns(count=50):
    rng = np.random.default_rng(0)
    return {
        "user": pa.array(
            rng.choice([b"ann", b"bob, jr", "çelik".encode(), b"", b"new"], count).tolist(), pa.large_binary()
        ),
        "item": pa.array([f"i{n}".encode() for n in rng.integers(0, 25, count)], pa.large_binary()),
        "price": rng.choice(np.float32([0, 3.5, np.nan, 1e30]), count),
        "past_click_known": rng.integers(0, 5, count).astype(np.float32),
        "past_click_positive": rng.integers(0, 3, count).astype(np.float32),
        "t": rng.integers(0, 10**9, count),
    }


def test_signatures_answer_as_the_training_path_for_unseen_and_missing_values_too(exported):
    model, backbone = exported
    raw = hard_records(columns(), GRAPH, 40)
    assert len(raw["t"]) == 120
    expected = training_path(backbone, GRAPH, raw)
    served = tf.saved_model.load(str(model)).signatures["serving_default"]
    outputs = served(**{name: tf.constant(values) for name, values in raw.items()})
    for k, task in enumerate(("click", "buy")):
        assert outputs[task].dtype == tf.float32
        np.testing.assert_allclose(outputs[task], expected[:, k], atol=1e-6, rtol=0)
    np.testing.assert_allclose(outputs["score"], expected[:, 0] * expected[:, 1] ** 2, rtol=1e-4)


def test_a_session_as_in_tf_serving_and_java_answers_as_the_training_path(exported):
    model, backbone = exported
    raw = hard_records(columns(), GRAPH, 40)
    expected = training_path(backbone, GRAPH, raw)
    requests = {"serving_default": raw, "serve_examples": {"examples": probe.to_examples(raw)}}
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(model)).signature_def
        for name, request in requests.items():
            signature = signatures[name]
            feed = {signature.inputs[key].name: values for key, values in request.items()}
            fetch = {task: signature.outputs[task].name for task in ("click", "buy")}
            answer = session.run(fetch, feed)
            for k, task in enumerate(fetch):
                np.testing.assert_allclose(answer[task], expected[:, k], atol=1e-6, rtol=0)


def test_only_what_requests_read_is_stored_and_once(exported):
    model, backbone = exported
    stored = tf.train.load_checkpoint(str(model / "variables" / "variables")).get_variable_to_shape_map()
    ids = sum(size for _, size in GRAPH.input_spec().categorical)
    # Both bottoms' first matrices [state, 8] were multiplied into the embeddings, which are read no more.
    tables = [shape for name, shape in stored.items() if len(shape) == 2]
    assert tables == [[ids, 8]] * 2
    assert len(stored) == 2 + 2  # and the history's length, and the object graph
    assert sum(map(np.prod, tables)) < backbone.count_params() * 2


def test_serve_examples_reads_absent_features_as_missing(exported):
    model, backbone = exported
    empty = tf.train.Example().SerializeToString()
    outputs = tf.saved_model.load(str(model)).signatures["serve_examples"](examples=tf.constant([empty]))
    raw = {name: np.array([GRAPH.defaults[name]]) for name in GRAPH.raw}
    raw = {name: v.astype(np.bytes_) if v.dtype.kind == "U" else v for name, v in raw.items()}
    expected = training_path(backbone, GRAPH, {**raw, "price": raw["price"].astype(np.float32)})
    np.testing.assert_allclose(outputs["click"], expected[:, 0], atol=1e-6)


def test_hard_records_hold_unseen_and_missing_values_of_every_input():
    raw = hard_records(columns(), GRAPH, 40)
    assert (raw["item"][40:80] == UNSEEN.encode()).all()
    for name in GRAPH.raw:
        part = raw[name][80:]
        default = GRAPH.defaults[name]
        missing = (
            np.isnan(part)
            if isinstance(default, float) and np.isnan(default)
            else part == (default.encode() if isinstance(default, str) else default)
        )
        assert missing.any()


def test_parity_file_needs_no_pickle(exported, tmp_path):
    raw = hard_records(columns(), GRAPH, 5)
    write_parity(tmp_path / "parity.npz", raw, np.zeros((15, 2), np.float32), ["click", "buy"])
    with np.load(tmp_path / "parity.npz", allow_pickle=False) as stored:
        assert set(stored.files) == {*GRAPH.raw, "prediction/click", "prediction/buy"}
        np.testing.assert_array_equal(stored["user"], raw["user"])


def test_it_loads_where_only_tensorflow_is_installed(exported):
    script = (
        "import sys, tensorflow as tf\n"
        f"served = tf.saved_model.load({str(exported[0])!r}).signatures['serve_examples']\n"
        "print(sorted(served.structured_outputs), any(m.split('.')[0] == 'rmtl_tf' for m in sys.modules))\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, cwd="/", check=True
    )
    assert result.stdout.strip() == "['buy', 'click', 'score'] False"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("price", ["cheap"] * 2, "dtype=tf.string, name='price'"),
        ("t", [1.5, 2.5], "dtype=tf.float32, name='t'"),
        ("item", [["i1"], ["i2"]], "shape=(2, 1), dtype=tf.string, name='item'"),
    ],
)
def test_wrong_type_or_shape_is_refused_by_tensorflow_naming_the_input(exported, name, value, message):
    served = tf.saved_model.load(str(exported[0])).signatures["serving_default"]
    rows = {
        "user": ["ann"] * 2,
        "item": ["i1", "i2"],
        "price": [1.0, 2.0],
        "t": tf.constant([1, 2], tf.int64),
    }
    counts = {"past_click_known": [0.0, 1.0], "past_click_positive": [0.0, 1.0]}
    served(**{name: tf.constant(value) for name, value in (rows | counts).items()})
    with pytest.raises((TypeError, tf.errors.InvalidArgumentError)) as caught:
        served(**{n: tf.constant(v) for n, v in {**rows, **counts, name: value}.items()})
    assert message in reasons(caught.value)


def reasons(error: BaseException | None) -> str:
    """The messages of an error and of those it was raised from, as a traceback shows them."""
    return "" if error is None else f"{error}\n{reasons(error.__cause__ or error.__context__)}"


def test_inputs_of_different_lengths_are_no_answer(exported):
    served = tf.saved_model.load(str(exported[0])).signatures["serving_default"]
    two = {name: tf.constant([1.0, 2.0]) for name in ("price", "past_click_known", "past_click_positive")}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?i)shape"):
        served(
            user=tf.constant(["ann"]), item=tf.constant(["i1", "i2"]), t=tf.constant([1, 2], tf.int64), **two
        )


def test_absent_input_is_refused_by_name(exported):
    served = tf.saved_model.load(str(exported[0])).signatures["serving_default"]
    with pytest.raises(TypeError, match="item"):
        served(user=tf.constant(["ann"]))


HISTORY = HistorySpec(
    "attention",
    3,
    2,
    "item",
    ("item", "price"),
    (HistoryTask("click", "click", 0), HistoryTask("buy", "buy", 0)),
)


def past_columns(count=50, length=5):
    """Histories of 0 to `length` entries, with unseen items, missing prices and missing codes in them."""
    rng = np.random.default_rng(1)
    there = np.arange(length) < rng.integers(0, length + 1, count)[:, None]
    items = rng.choice([f"i{n}".encode() for n in range(25)], there.shape).astype(object)
    prices = rng.choice(np.float32([0, 3.5, np.nan, 1e30]), there.shape)
    codes = {name: rng.integers(0, 4, there.shape) * there for name in ("history_click", "history_buy")}
    past = {"history_item": np.where(there, items, b""), "history_price": np.where(there, prices, np.nan)}
    return columns(count) | past | codes


@pytest.fixture(scope="module")
def looking_back(tmp_path_factory):
    directory = tmp_path_factory.mktemp("history")
    GRAPH.save(directory / "graph")
    spec = replace(GRAPH.input_spec(), history=HISTORY)
    backbone = ESMM(spec, GRAPH.tasks, embedding_dim=4, bottom=(8,), tower=(4,), seed=1)
    score = ScoreFormula({"click": 1.0, "buy": 1.0})
    candidates = ("item", "price")
    export_saved_model(backbone, GRAPH, directory / "graph", score, directory / "model", HISTORY, candidates)
    raw = hard_records(past_columns(), GRAPH, 40, HISTORY)
    write_parity(
        directory / "parity.npz", raw, training_path(backbone, GRAPH, raw, HISTORY), ["click", "buy"]
    )
    return directory, backbone, raw


def test_histories_are_served_as_in_training_by_every_signature(looking_back):
    directory, _, raw = looking_back
    there = raw["history_item"] != b""
    assert {0, 1, 3, 5} <= set(there.sum(axis=1))
    assert (~there[:, 0] & there[:, 1]).any()  # an entry without an item, between others
    assert (raw["history_item"] == UNSEEN.encode()).any()
    answer = probe.probe(directory / "model", directory / "parity.npz", [1, 100], 1, 1e-6)
    assert {check["name"]: check for check in answer["checks"] if not check["passed"]} == {}
    assert set(answer["timings"]) == {"serving_default", "serve_examples", "rank"}


def test_only_the_last_entries_count_and_absent_lists_are_no_history(looking_back):
    directory, _, raw = looking_back
    loaded = tf.saved_model.load(str(directory / "model"))
    served = loaded.signatures["serving_default"]
    assert int(loaded.history_length) == HISTORY.length
    full = np.flatnonzero((raw["history_item"][:40] != b"").all(axis=1))
    rows = {name: values[full] for name, values in raw.items()}
    last = {name: values[:, -3:] if name.startswith("history_") else values for name, values in rows.items()}
    none = {name: values[:, :0] if name.startswith("history_") else values for name, values in rows.items()}
    answers = [
        served(**{n: tf.constant(v) for n, v in some.items()})["click"].numpy() for some in (rows, last, none)
    ]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-6)
    assert np.abs(answers[0] - answers[2]).max() > 1e-6
    single = {name: values for name, values in rows.items() if not name.startswith("history_")}
    alone = loaded.signatures["serve_examples"](examples=tf.constant(probe.to_examples(single), tf.string))
    np.testing.assert_allclose(alone["click"], answers[2], atol=1e-6)


def test_warm_up_requests_hold_the_lists(looking_back, tmp_path):
    _, _, raw = looking_back
    assert write_warmup(tmp_path / "requests", raw, ["item", "price"]) == 6
    first = next(iter(tf.data.TFRecordDataset(str(tmp_path / "requests")))).numpy()
    assert b"history_item" in first


def test_replay_calls_every_signature_with_the_recorded_requests(looking_back, tmp_path):
    directory, _, raw = looking_back
    write_warmup(tmp_path / "requests", raw, ["item", "price"])
    loaded = tf.saved_model.load(str(directory / "model"))
    assert replay_warmup(loaded, tmp_path / "requests") == 6
    assert replay_warmup(loaded, tmp_path / "none") == 0
    write_warmup(tmp_path / "other", {"item": raw["item"]})  # requests that the model cannot answer
    with pytest.raises(TypeError):
        replay_warmup(loaded, tmp_path / "other")
