"""History lists as model inputs: offline and inside TensorFlow alike, whatever a client sends."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.features.encoder import RawEncoder, parse_examples, signature
from rmtl_tf.features.graph import Categorical, Numeric, TransformGraph
from rmtl_tf.features.history import apply_history, history_defaults, history_types
from rmtl_tf.features.spec import HistorySpec, HistoryTask
from rmtl_tf.schema import Task

GRAPH = TransformGraph(
    features=(
        Categorical("user", ("ann",), is_id=True),
        Categorical("item", ("a", "b", "c"), is_id=True),
        Categorical("region", ()),
        Numeric("price", 2.0, 0.5, log=True),
    ),
    tasks=(Task("click"), Task("buy")),
    labels=("clicked", "bought"),
    timestamp="t",
)
TASKS = (HistoryTask("click", "clicked", 0), HistoryTask("buy", "bought", 9))
HISTORY = HistorySpec("gru", 3, 1, "item", ("item", "region", "price"), TASKS)
NOW = {"user": tf.constant(["ann"]), "item": tf.constant(["c"]), "region": tf.constant([""]), "price": [1.0]}
LISTS = [f"history_{name}" for name in ("item", "region", "price", "click", "buy")]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("graph")
    GRAPH.save(directory)
    return RawEncoder(GRAPH, directory, HISTORY)


def lists(*rows, length=None):
    """Raw lists [N, L] of rows of entries (item, region, price, click, buy), padded at their end."""
    length = max(map(len, rows)) if length is None else length
    pads = ("", "", np.nan, 0, 0)
    columns = {}
    for k, name in enumerate(LISTS):
        values = [[*(entry[k] for entry in row), *[pads[k]] * (length - len(row))] for row in rows]
        dtype = "S5" if k < 2 else np.float32 if k == 2 else np.int64
        columns[name] = np.array(values, dtype).reshape(len(rows), length)
    return columns


def encode(encoder, raw):
    n = len(raw["history_item"])
    now = {name: tf.repeat(value, n, axis=0) for name, value in NOW.items()}
    outputs = encoder({**now, **{name: tf.constant(value) for name, value in raw.items()}})
    return {name: value.numpy() for name, value in outputs.items() if name.startswith("history/")}


def test_the_last_entries_come_last_and_what_is_not_there_is_padding(encoder):
    raw = lists([("a", "x", 1.0, 3, 1)], [], [("zzz", "", np.nan, 2, 2)] + [("b", "", 4.0, 1, 3)] * 3)
    got = encode(encoder, raw)
    np.testing.assert_array_equal(got["history/item"], [[0, 0, 2], [0, 0, 0], [3, 3, 3]])
    np.testing.assert_array_equal(got["history/region"], [[0, 0, 1], [0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(got["history/click"], [[0, 0, 3], [0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(got["history/buy"], [[0, 0, 1], [0, 0, 0], [3, 3, 3]])
    price = (np.log1p([1.0, 4.0]) - 2) / 0.5
    expected = [[0, 0, price[0]], [0, 0, 0], [price[1]] * 3]
    np.testing.assert_allclose(got["history/price"], expected, rtol=1e-6)
    assert got["history/item"].dtype == got["history/click"].dtype == np.int32
    assert got["history/price"].dtype == np.float32


def test_unseen_and_missing_values_are_the_unknown_and_the_mean(encoder):
    got = encode(encoder, lists([("new", "x", np.nan, 2, 2), ("a", "", np.inf, 2, 2)]))
    np.testing.assert_array_equal(got["history/item"], [[0, 1, 2]])
    np.testing.assert_array_equal(got["history/price"], np.zeros((1, 3)))


@pytest.mark.parametrize("code", [0, 4, -1, 2**40])
def test_a_code_that_says_nothing_means_not_known_yet(encoder, code):
    assert encode(encoder, lists([("a", "", 1.0, code, 2)]))["history/click"].tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("length", [0, 5])
def test_lists_of_nothing_are_no_history(encoder, length):
    for name, values in encode(encoder, lists([], [], length=length)).items():
        np.testing.assert_array_equal(values, np.zeros((2, 3)), err_msg=name)


ENTRY = st.tuples(
    st.sampled_from(["a", "b", "c", "new", ""]),
    st.sampled_from(["", "x"]),
    st.sampled_from([0.0, 1.5, -3.0, 1e30, np.nan, np.inf]),
    st.integers(-1, 4),
    st.integers(0, 3),
)


@given(st.lists(st.lists(ENTRY, max_size=6), min_size=1, max_size=4))
def test_offline_and_inside_tensorflow_are_equal(encoder, rows):
    raw = lists(*rows)
    inside, offline = encode(encoder, raw), apply_history(GRAPH, HISTORY, raw)
    assert set(inside) == set(offline)
    for name, values in offline.items():
        assert values.dtype == inside[name].dtype
        np.testing.assert_allclose(inside[name], values, rtol=1.2e-7, atol=1e-6, err_msg=name)


def example(**features):
    feature = {}
    for name, values in features.items():
        if isinstance(values[0], bytes):
            feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        elif isinstance(values[0], float):
            feature[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def test_examples_hold_lists_of_any_length_and_what_is_absent_is_missing(encoder):
    examples = [
        example(user=[b"ann"]),
        example(history_item=[b"a", b"b"], history_price=[3.0], history_click=[2, 3], history_buy=[1, 1, 1]),
    ]
    parsed = parse_examples(tf.constant(examples), GRAPH, HISTORY)
    assert {name: parsed[name].shape[1] for name in LISTS} == dict.fromkeys(LISTS, 2)
    got = {name: value.numpy() for name, value in encoder(parsed).items()}
    np.testing.assert_array_equal(got["history/item"], [[0, 0, 0], [0, 2, 3]])
    np.testing.assert_array_equal(got["history/region"], [[0, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(got["history/click"], [[0, 0, 0], [0, 2, 3]])
    np.testing.assert_array_equal(got["history/buy"], [[0, 0, 0], [0, 1, 1]])
    np.testing.assert_allclose(got["history/price"][1], [0, (np.log(4) - 2) / 0.5, 0], rtol=1e-6)
    assert got["user"].tolist() == [2, 1]


def test_an_empty_batch_of_examples_is_answered(encoder):
    parsed = parse_examples(tf.constant([], tf.string), GRAPH, HISTORY)
    assert encoder(parsed)["history/item"].shape == (0, 3)


def test_the_signature_has_a_list_for_every_step_input_and_task():
    received = {name: (s.shape.as_list(), s.dtype) for name, s in signature(GRAPH, HISTORY).items()}
    assert {name: received[name] for name in LISTS} == {
        "history_item": ([None, None], tf.string),
        "history_region": ([None, None], tf.string),
        "history_price": ([None, None], tf.float32),
        "history_click": ([None, None], tf.int64),
        "history_buy": ([None, None], tf.int64),
    }
    assert set(received) == {*GRAPH.raw, *LISTS}
    assert set(history_types(GRAPH, HISTORY)) == set(history_defaults(GRAPH, HISTORY)) == set(LISTS)
    assert history_types(GRAPH, None) == history_defaults(GRAPH, None) == {}
