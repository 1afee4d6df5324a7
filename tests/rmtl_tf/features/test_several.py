"""Features with several values a record, from raw lists to the served model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.backbones import ESMM
from rmtl_tf.errors import UserError
from rmtl_tf.export import probe
from rmtl_tf.export.parity import UNSEEN, hard_records, training_path, write_parity
from rmtl_tf.export.saved_model import export_saved_model
from rmtl_tf.features.apply import GraphApplier
from rmtl_tf.features.encoder import RawEncoder, parse_examples, signature
from rmtl_tf.features.graph import Categorical, TransformGraph
from rmtl_tf.features.spec import HistorySpec, InputSpec, check_spec
from rmtl_tf.schema import Task

GRAPH = TransformGraph(
    features=(
        Categorical("item", ("i0", "i1"), is_id=True),
        Categorical("tag", ("a", "b", "c"), max_values=3),
        Categorical("empty", (), max_values=2),
    ),
    tasks=(Task("click"),),
    labels=("click",),
    timestamp="t",
)
IDS = {b"a": 2, b"b": 3, b"c": 4}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("graph")
    GRAPH.save(directory)
    return directory


@pytest.fixture(scope="module")
def encoder(directory):
    return RawEncoder(GRAPH, directory)


def _raw(lists: list[list[bytes]]) -> dict:
    several = pa.array(lists, pa.large_list(pa.large_binary()))
    return {"item": pa.array([b"i0"] * len(lists), pa.large_binary()), "tag": several, "empty": several}


def _expected(values: list[bytes], known: dict[bytes, int], most: int) -> list[int]:
    """The oracle: ids of the first M values that are not empty, 1 where there is none, then padding."""
    ids = [known.get(value, 1) for value in values if value][:most] or [1]
    return ids + [0] * (most - len(ids))


LISTS = st.lists(
    st.lists(st.sampled_from([b"a", b"b", b"c", b"new", b""]), max_size=6), min_size=1, max_size=6
)


@settings(max_examples=100, deadline=None)
@given(lists=LISTS)
def test_lists_become_ids_offline_and_the_same_ids_in_tensorflow(encoder, lists):
    offline = GraphApplier(GRAPH)(_raw(lists))
    assert offline["tag"].tolist() == [_expected(values, IDS, 3) for values in lists]
    assert offline["empty"].tolist() == [_expected(values, {}, 2) for values in lists]
    longest = max(map(len, lists))
    dense = tf.constant(
        [values + [b""] * (longest - len(values)) for values in lists], tf.string, (len(lists), longest)
    )
    encoded = encoder({"item": tf.constant([b"i0"] * len(lists)), "tag": dense, "empty": dense})
    for name in ("tag", "empty"):
        for row, ids in enumerate(encoded[name].numpy().tolist()):
            # Where a value stands among padding is of no matter: the field is a mean.
            assert sorted(filter(None, ids)) == sorted(filter(None, offline[name][row].tolist()))


def test_the_graph_says_which_inputs_are_lists_and_keeps_it_on_disk(directory):
    assert GRAPH.several == {"tag": 3, "empty": 2}
    assert TransformGraph.load(directory) == GRAPH
    spec = GRAPH.input_spec()
    assert spec.several == (("tag", 3), ("empty", 2))
    assert InputSpec.from_config(spec.get_config()) == spec
    shapes = {name: entry.shape.rank for name, entry in signature(GRAPH).items()}
    assert shapes == {"item": 1, "tag": 2, "empty": 2}


def test_serialized_lists_are_of_any_length_and_absent_ones_empty():
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"tag": tf.train.Feature(bytes_list=tf.train.BytesList(value=values))}
                if values
                else {}
            )
        ).SerializeToString()
        for values in ([b"a", b"b"], [], [b"c"])
    ]
    parsed = parse_examples(tf.constant(examples), GRAPH)
    assert parsed["tag"].numpy().tolist() == [[b"a", b"b"], [b"", b""], [b"c", b""]]
    assert parsed["empty"].shape == (3, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"several": (("tags", 3),)},
        {"several": (("item", 3),)},
        {"history": HistorySpec("mean", 3, 1, "item", ("item", "tag"))},
    ],
)
def test_ids_and_history_have_one_value(changes):
    with pytest.raises(UserError, match="several ids can only be of a categorical input"):
        check_spec(replace(GRAPH.input_spec(), **changes))


def test_lists_are_served_as_in_training_by_both_signatures(tmp_path):
    GRAPH.save(tmp_path / "graph")
    backbone = ESMM(GRAPH.input_spec(), GRAPH.tasks, embedding_dim=4, bottom=(8,), tower=(4,), seed=1)
    export_saved_model(backbone, GRAPH, tmp_path / "graph", {}, tmp_path / "model")
    rng = np.random.default_rng(0)
    lists = rng.choice(np.array([b"a", b"b", b"c", b"new", b""], object), (60, 3))
    columns = {
        "item": pa.array([b"i0", b"i1", b"i2"] * 20, pa.large_binary()),
        "tag": lists,
        "empty": lists[:, :2],
    }
    raw = hard_records(columns, GRAPH, 60)
    assert (raw["tag"] == UNSEEN.encode()).any()
    assert (raw["tag"][120:] == b"").all(axis=1).any()
    write_parity(tmp_path / "parity.npz", raw, training_path(backbone, GRAPH, raw), ["click"])
    answer = probe.probe(tmp_path / "model", tmp_path / "parity.npz", [1, 100], 1, 1e-6)
    assert {check["name"]: check for check in answer["checks"] if not check["passed"]} == {}
    served = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]

    def ask(*tags: bytes) -> float:
        tag = tf.constant([list(tags)], tf.string, (1, len(tags)))
        empty = tf.constant([[]], tf.string, (1, 0))
        return float(served(item=tf.constant([b"i0"]), tag=tag, empty=empty)["click"][0])

    assert ask(b"a", b"b") == pytest.approx(ask(b"", b"b", b"a", b""), abs=1e-6)
    assert ask(b"a", b"b", b"c", b"a", b"a", b"a") == pytest.approx(ask(b"a", b"b", b"c"), abs=1e-6)
    assert ask() == pytest.approx(ask(b"unheard of"), abs=1e-6)
    assert abs(ask(b"a") - ask(b"b")) > 1e-6


def test_each_of_several_values_outside_the_vocabulary_has_its_bucket(tmp_path):
    graph = TransformGraph((Categorical("tag", ("a",), max_values=3, buckets=50),), (), (), "t")
    graph.save(tmp_path)
    lists = [[b"a", b"x", b"y", b"z"], [b"", b"x"], [b""], []]
    offline = GraphApplier(graph)({"tag": pa.array(lists, pa.large_list(pa.large_binary()))})["tag"]
    dense = tf.ragged.constant(lists, dtype=tf.string, ragged_rank=1).to_tensor("")
    inside = RawEncoder(graph, tmp_path)({"tag": dense})["tag"].numpy()
    for served, trained in zip(inside.tolist(), offline.tolist(), strict=True):
        assert [id for id in served if id] == [id for id in trained if id]
    x, y = (3 + int(b) for b in tf.strings.to_hash_bucket_fast([b"x", b"y"], 50))
    assert offline.tolist() == [[2, x, y], [x, 0, 0], [1, 0, 0], [1, 0, 0]]
