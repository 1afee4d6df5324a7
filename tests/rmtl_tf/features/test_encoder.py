from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.features.apply import GraphApplier
from rmtl_tf.features.encoder import RawEncoder, parse_examples, signature
from rmtl_tf.features.graph import Categorical, Numeric, Rate, TimePart, TransformGraph
from rmtl_tf.features.vocabulary import encode_value
from rmtl_tf.schema import Task

VALUES = (
    *(
        "phone",
        "Phone",
        " lead",
        "trail ",
        " ",
        "a,b",
        "a\tb",
        '"quoted"',
        "#1",
        "\\n",
        "\x00nul",
        "ünï",
        "日本",
    ),
    *("e\u0301", "\u00e9", "\u2028line", "\x85next", "\x0bvertical", "\udcff", "0", "-1", "x" * 5000),
)
RATE = Rate("past_click_rate", "past_click_positive", "past_click_known", 0.1, 2.0, 0.12, 0.03)
GRAPH = TransformGraph(
    features=(
        Categorical("tag", VALUES, is_id=True),
        Categorical("nothing", ()),
        Categorical("hashed", (), is_id=True, buckets=1000),
        Categorical("mixed", VALUES[:5], buckets=7),
        Numeric("price", 3.1, 0.9, log=True),
        Numeric("age", -40.25, 1e-3),
        Numeric("past_records", 1.5, 0.8, log=True, missing=0.0),
        RATE,
        TimePart("hour", "timestamp"),
        TimePart("weekday", "timestamp"),
    ),
    tasks=(Task("click"),),
    labels=("click",),
    timestamp="timestamp",
)
NUMBERS = [name for name, kind in GRAPH.raw.items() if kind == "float"]
HARD_FLOATS = np.array(
    [0.0, -0.0, 1.0, -1.0, -0.5, 1e-40, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan, 16_777_217, -40.25, 20.0],
    np.float32,
)
HARD_TIMES = [
    0,
    -1,
    -2,
    3599,
    3600,
    -3600,
    -3601,
    86_399,
    1_700_000_000,
    253_402_300_800,
    -(2**63),
    2**63 - 1,
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("graph")
    GRAPH.save(directory)
    return directory


@pytest.fixture(scope="module")
def encoder(directory):
    return RawEncoder(GRAPH, directory)


def raw_columns(strings, floats, times) -> dict:
    """Every string, number and time with every feature of its type, N rows."""
    n = max(len(strings), len(floats), len(times))
    columns = {
        "tag": np.resize(np.array(strings, object), n),
        **{name: np.resize(np.array(strings, object), n) for name in ("nothing", "hashed", "mixed")},
    }
    for place, name in enumerate(NUMBERS):
        columns[name] = np.resize(np.roll(np.array(floats, np.float32), place), n)
    return columns | {"timestamp": np.resize(np.array(times, np.int64), n)}


def both(encoder, columns):
    offline = GraphApplier(GRAPH)(
        {k: pa.array(v, pa.large_binary()) if v.dtype == object else v for k, v in columns.items()}
    )
    inside = {k: v.numpy() for k, v in encoder({k: tf.constant(v) for k, v in columns.items()}).items()}
    return offline, inside


def assert_agree(offline, inside):
    spec = GRAPH.input_spec()
    assert set(inside) == set(offline) == {*(n for n, _ in spec.categorical), *spec.numeric}
    for name, size in spec.categorical:
        assert inside[name].dtype == np.int32
        np.testing.assert_array_equal(inside[name], offline[name], err_msg=name)
        assert ((offline[name] >= 1) & (offline[name] < size)).all()
    for name in spec.numeric:
        assert inside[name].dtype == offline[name].dtype == np.float32
        assert np.isfinite(inside[name]).all()
        np.testing.assert_allclose(inside[name], offline[name], rtol=1.2e-7, atol=1e-9, err_msg=name)


def test_every_hard_value_encodes_as_offline(encoder):
    strings = [encode_value(v) for v in VALUES] + [b"", b"unseen", b"phone ", b"trail", b"\xfe"]
    assert_agree(*both(encoder, raw_columns(strings, HARD_FLOATS, HARD_TIMES)))


def test_every_vocabulary_value_gets_its_own_id(encoder):
    strings = [encode_value(v) for v in VALUES]
    _, inside = both(encoder, raw_columns(strings, [0.0], [0]))
    assert inside["tag"].tolist() == list(range(2, 2 + len(VALUES)))
    assert set(inside["nothing"].tolist()) == {1}


def test_hashed_values_share_ids_behind_the_vocabulary_and_missing_ones_stay_unknown(encoder):
    strings = [b"", *(encode_value(v) for v in VALUES), *(b"new %d" % i for i in range(3000))]
    _, inside = both(encoder, raw_columns(strings, [0.0], [0]))
    assert inside["mixed"][:6].tolist() == [1, 2, 3, 4, 5, 6]
    assert set(inside["mixed"][6:].tolist()) == set(range(7, 14))  # every bucket, and never "unknown"
    assert inside["hashed"][0] == 1
    assert (inside["hashed"][1:] >= 2).all()
    assert len(set(inside["hashed"].tolist())) > 900


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.binary() | st.text().map(str.encode) | st.sampled_from([encode_value(v) for v in VALUES]),
        min_size=1,
    ),
    st.lists(st.floats(width=32), min_size=1),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**6), 10**6), min_size=1),
)
def test_any_value_encodes_as_offline(encoder, strings, floats, times):
    assert_agree(*both(encoder, raw_columns(strings, floats, times)))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(width=32), min_size=1),
    st.floats(-1e4, 1e4),
    st.floats(1e-3, 1e6),
    st.booleans(),
    st.sampled_from([None, 0.0]),
)
def test_any_scaling_of_a_number_agrees_with_offline(tmp_path_factory, values, mean, std, log, missing):
    graph = TransformGraph((Numeric("x", mean, std, log, missing),), GRAPH.tasks, GRAPH.labels, "t")
    x = np.array(values, np.float32)
    inside = RawEncoder(graph, tmp_path_factory.getbasetemp())({"x": tf.constant(x)})["x"].numpy()
    np.testing.assert_allclose(inside, GraphApplier(graph)({"x": x})["x"], rtol=1.2e-7, atol=1e-6)


def test_signature_names_and_types_the_raw_inputs():
    received = {
        name: (spec.name, spec.shape.as_list(), spec.dtype) for name, spec in signature(GRAPH).items()
    }
    assert list(received) == list(GRAPH.raw)
    assert received["tag"] == ("tag", [None], tf.string)
    assert received["price"] == ("price", [None], tf.float32)
    assert received["timestamp"] == ("timestamp", [None], tf.int64)


def test_empty_example_parses_to_missing_values(encoder):
    example = tf.train.Example().SerializeToString()
    parsed = parse_examples(tf.constant([example]), GRAPH)
    inputs = {name: value.numpy()[0] for name, value in encoder(parsed).items()}
    no_history = GraphApplier(GRAPH)(
        raw_columns([b""], [0.0], [-1])
        | dict.fromkeys(("tag", "nothing", "hashed", "mixed"), pa.array([b""]))
    )
    assert inputs["tag"] == inputs["hour"] == inputs["weekday"] == 1
    assert inputs["price"] == inputs["age"] == 0
    assert inputs["past_records"] == no_history["past_records"][0] == np.float32(-1.5 / 0.8)
    assert inputs["past_click_rate"] == no_history["past_click_rate"][0]


def test_filled_example_parses_to_its_values():
    example = tf.train.Example()
    example.features.feature["tag"].bytes_list.value.append(b"phone")
    example.features.feature["price"].float_list.value.append(2.5)
    example.features.feature["timestamp"].int64_list.value.append(7)
    parsed = parse_examples(tf.constant([example.SerializeToString()]), GRAPH)
    assert (parsed["tag"].numpy()[0], parsed["price"].numpy()[0], parsed["timestamp"].numpy()[0]) == (
        b"phone",
        2.5,
        7,
    )


LOADER = """
import sys
import numpy as np
import tensorflow as tf

assert "rmtl_tf" not in sys.modules
model = tf.saved_model.load(sys.argv[1])
raw = np.load(sys.argv[2], allow_pickle=True)
outputs = model.signatures["serving_default"](**{name: tf.constant(raw[name]) for name in raw.files})
np.savez(sys.argv[3], **{name: value.numpy() for name, value in outputs.items()})
"""


def test_saved_model_carries_the_vocabulary_to_a_process_without_our_code(tmp_path):
    GRAPH.save(tmp_path / "graph")
    module = RawEncoder(GRAPH, tmp_path / "graph")
    encode = tf.function(lambda **raw: module(raw)).get_concrete_function(**signature(GRAPH))
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": encode})
    strings = [encode_value(v) for v in VALUES] + [b"", b"unseen"]
    columns = raw_columns(strings, HARD_FLOATS, HARD_TIMES)
    offline, _ = both(module, columns)
    np.savez(tmp_path / "raw.npz", **columns)
    shutil.rmtree(tmp_path / "graph")

    files = [str(tmp_path / name) for name in ("model", "raw.npz", "inputs.npz")]
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *files], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "inputs.npz") as received:
        assert_agree(offline, {name: received[name] for name in received.files})
