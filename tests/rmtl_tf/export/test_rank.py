"""Ranking answers as scoring the same records one by one does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import SharedBottom
from rmtl_tf.errors import UserError
from rmtl_tf.export.rank import candidate_inputs, rank_signature
from rmtl_tf.export.saved_model import export_saved_model
from rmtl_tf.export.score import ScoreFormula
from rmtl_tf.features.graph import Categorical, Numeric, TimePart, TransformGraph
from rmtl_tf.schema import DataSchema, Feature, Task

GRAPH = TransformGraph(
    features=(
        Categorical("user", ("ann", "bob"), is_id=True),
        Categorical("item", tuple(f"i{n}" for n in range(20)), is_id=True),
        Numeric("price", 1.0, 2.0),
        TimePart("hour", "t"),
    ),
    tasks=(Task("click"), Task("buy")),
    labels=("click", "buy"),
    timestamp="t",
)
SCHEMA = DataSchema(
    features=(
        Feature("user", "categorical", context=True),
        Feature("item", "categorical"),
        Feature("price", "numeric"),
        Feature("t", "timestamp"),
    ),
    tasks=GRAPH.tasks,
    labels=GRAPH.labels,
    user="user",
    item="item",
    timestamp="t",
)


@pytest.fixture(scope="module")
def signatures(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rank")
    GRAPH.save(directory / "graph")
    backbone = SharedBottom(GRAPH.input_spec(), GRAPH.tasks, embedding_dim=4, bottom=(8,), tower=(4,), seed=1)
    export_saved_model(
        backbone,
        GRAPH,
        directory / "graph",
        ScoreFormula({"click": 1.0, "buy": 3.0}, "sum"),
        directory / "model",
        candidates=("item", "price"),
    )
    model = tf.saved_model.load(str(directory / "model"))
    return model.signatures["rank"], model.signatures["serving_default"], model


def request(users, items, prices, times):
    return {
        "user": tf.constant(users),
        "t": tf.constant(times, tf.int64),
        "item": tf.constant(items, tf.string),
        "price": tf.constant(prices, tf.float32),
    }


@pytest.mark.parametrize(("requests", "candidates"), [(1, 1), (1, 7), (3, 5)])
def test_every_candidate_is_scored_as_a_record_with_its_requests_context(signatures, requests, candidates):
    rank, single, _ = signatures
    rng = np.random.default_rng(candidates)
    users = rng.choice([b"ann", b"bob", b"", b"new"], requests)
    items = rng.choice([b"i0", b"i3", b"i19", b"", b"new"], (requests, candidates))
    prices = rng.choice(np.float32([0, 3.5, np.nan]), (requests, candidates))
    times = rng.integers(-1, 10**6, requests)
    answer = {k: v.numpy() for k, v in rank(**request(users, items, prices, times)).items()}
    assert {name: value.shape for name, value in answer.items()} == dict.fromkeys(
        ("click", "buy", "score", "order"), (requests, candidates)
    )
    for b in range(requests):
        rows = request([users[b]] * candidates, items[b], prices[b], [times[b]] * candidates)
        for name, values in single(**rows).items():
            np.testing.assert_allclose(answer[name][b], values, atol=1e-6)
        oracle = sorted(range(candidates), key=lambda m: (-answer["score"][b][m], m))
        assert answer["order"][b].tolist() == oracle
    np.testing.assert_allclose(answer["score"], answer["click"] + 3 * answer["buy"], rtol=1e-6)


def test_equal_candidates_keep_the_order_they_were_sent_in(signatures):
    items = [["i1", "i2", "i1", "i2", "i1"]]
    answer = signatures[0](**request(["ann"], items, [[1.0] * 5], [0]))
    order = answer["order"].numpy()[0].tolist()
    assert order in ([0, 2, 4, 1, 3], [1, 3, 0, 2, 4])


def test_no_candidates_have_no_scores(signatures):
    empty = {"item": tf.zeros([1, 0], tf.string), "price": tf.zeros([1, 0])}
    answer = signatures[0](user=tf.constant(["ann"]), t=tf.constant([0], tf.int64), **empty)
    assert {name: value.shape for name, value in answer.items()} == dict.fromkeys(
        ("click", "buy", "score", "order"), (1, 0)
    )


@pytest.mark.parametrize(
    ("name", "value"), [("price", [[1.0]]), ("user", ["ann", "bob"]), ("price", [[1.0, 2.0]] * 2)]
)
def test_input_of_another_size_is_named(signatures, name, value):
    good = request(["ann"], [["i1", "i2"]], [[1.0, 2.0]], [0])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"input {name} has other sizes than item"):
        signatures[0](**{**good, name: tf.constant(value)})


def test_wrong_type_names_the_input(signatures):
    good = request(["ann"], [["i1", "i2"]], [[1.0, 2.0]], [0])
    with pytest.raises((TypeError, tf.errors.InvalidArgumentError)) as caught:
        signatures[0](**{**good, "price": tf.constant([["a", "b"]])})
    reasons = (caught.value, caught.value.__cause__, caught.value.__context__)
    assert "dtype=tf.string, name='price'" in " ".join(map(str, reasons))


def test_candidates_have_their_step_features_and_share_the_rest():
    assert candidate_inputs(GRAPH, SCHEMA, ()) == ("item", "price")
    assert candidate_inputs(GRAPH, SCHEMA, ("price",)) == ("item",)
    specs = rank_signature(GRAPH, None, ("item",))
    ranks = {name: spec.shape.rank for name, spec in specs.items()}
    assert ranks == {"user": 1, "item": 2, "price": 1, "t": 1}


@pytest.mark.parametrize(
    ("context", "message"),
    [(("prise",), 'no step feature .prise.; did you mean "price"'), (("item", "price"), "would not differ")],
)
def test_context_that_cannot_be_is_refused(context, message):
    with pytest.raises(UserError, match=message):
        candidate_inputs(GRAPH, SCHEMA, context)
