"""Both clients against a served model: the same numbers as the SavedModel called in this process."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import tensorflow as tf

from serving.client import Client, GrpcClient, RestClient, Retry, ServingError
from tests.serving.conftest import Served, push

CONTEXT = {"user": "ann", "t": 7_200, "history_item": ["i3", "i4"], "history_click": [2, 3]}
ITEMS = [
    {"item": "i1", "price": 2.5, "tag": ["red", "blue"]},
    {"item": "new", "price": None},
    {"tag": ["blue"]},
    {"item": b"i1", "price": 2.5, "tag": ["red", "blue"]},
]


def connect(kind: str, served: Served, **choices) -> Client:
    timeout = choices.pop("timeout", 30.0)
    if kind == "grpc":
        return GrpcClient(served.grpc, "shop", timeout=timeout, **choices)
    return RestClient(served.rest, "shop", timeout=timeout, **choices)


@pytest.fixture(params=["grpc", "rest"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def local(served: Served, model: int) -> dict[str, np.ndarray]:
    """`rank` of the same request by the SavedModel itself."""
    inputs = {
        "user": [b"ann"],
        "t": tf.constant([7_200], tf.int64),
        "history_item": [[b"i3", b"i4"]],
        "history_price": tf.constant([[math.nan] * 2]),
        "history_click": tf.constant([[2, 3]], tf.int64),
        "item": [[b"i1", b"new", b"", b"i1"]],
        "price": [[2.5, math.nan, math.nan, 2.5]],
        "tag": [[[b"red", b"blue"], [b"", b""], [b"blue", b""], [b"red", b"blue"]]],
    }
    function = tf.saved_model.load(str(served.models[model])).signatures["rank"]
    return {
        name: value.numpy()[0]
        for name, value in function(**{k: tf.constant(v) for k, v in inputs.items()}).items()
    }


@pytest.mark.parametrize(("label", "model"), [("stable", 0), ("canary", 1)])
def test_rank_answers_as_the_labelled_model(served: Served, kind: str, label: str, model: int) -> None:
    expected = local(served, model)
    # The history's prices are missing: lists of a history have equal lengths.
    context = {**CONTEXT, "history_price": [None, None]}
    with connect(kind, served, label=label) as client:
        ranking = client.rank(context, ITEMS)
    np.testing.assert_allclose(ranking.score, expected["score"], atol=1e-6)
    assert ranking.tasks.keys() == {"click", "buy"}
    for task in ("click", "buy"):
        np.testing.assert_allclose(ranking.tasks[task], expected[task], atol=1e-6)
    assert ranking.order.tolist() == expected["order"].tolist()
    assert abs(ranking.score[0] - ranking.score[3]) < 1e-6


def test_what_is_left_out_is_missing(served: Served, kind: str) -> None:
    with connect(kind, served) as client:
        assert len(client.rank({}, [{}]).score) == 1
        bare, spelt = (
            client.rank(context, [{"item": "i2"}]).score
            for context in (
                {},
                {"user": "", "t": -1, "history_item": [], "history_price": [], "history_click": []},
            )
        )
    np.testing.assert_allclose(bare, spelt, atol=1e-7)


def test_versions_and_signatures_are_told(served: Served, kind: str) -> None:
    with connect(kind, served) as client:
        assert client.versions() == [1, 2]
        assert set(client.inputs("rank")) == set(client.inputs("serving_default"))
        assert client.inputs("serve_examples")["examples"].dtype == "string"
        assert (client.inputs("rank")["tag"].axes, client.inputs("serving_default")["tag"].axes) == (3, 2)


def test_examples_are_answered(served: Served, kind: str) -> None:
    example = tf.train.Example()
    example.features.feature["item"].bytes_list.value.append(b"i2")
    with connect(kind, served) as client:
        answer = client.predict({"examples": [example.SerializeToString()] * 2}, "serve_examples")
        alone = client.rank({}, [{"item": "i2"}])
    np.testing.assert_allclose(answer["score"], [alone.score[0]] * 2, atol=1e-6)


@pytest.mark.parametrize(
    ("context", "items", "message"),
    [
        ({"usr": "ann"}, [{}], "'usr'.*context.*'user'"),
        ({"price": 1.0}, [{}], "'price'.*context"),
        ({}, [{"user": "ann"}], "'user'.*candidate.*'item'"),
        ({"t": 1.5}, [{}], "input 't': expected int64"),
        ({}, [{"price": "cheap"}], "input 'price': expected float32"),
        ({"user": 3}, [{}], "input 'user': expected string"),
        ({"user": ["ann", "bob"]}, [{}], "input 'user': expected string with 1 axes"),
    ],
)
def test_mistake_is_refused_by_the_name_of_the_input(
    served: Served, kind: str, context, items, message
) -> None:
    with connect(kind, served) as client, pytest.raises(ValueError, match=message):
        client.rank(context, items)


def test_unknown_model_label_and_version_are_errors_without_retry(served: Served, kind: str) -> None:
    for choices in ({"label": "beta"}, {"version": 77}):
        began = time.monotonic()
        retry = Retry(first=5, longest=5)
        with connect(kind, served, retry=retry, **choices) as client, pytest.raises(ServingError) as caught:
            client.rank({}, [{}])
        assert caught.value.code in ("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION")
        assert time.monotonic() - began < 4


def test_labels_follow_promotion_and_new_versions_without_a_failed_request(
    served: Served, kind: str, models, tmp_path_factory
) -> None:
    from rmtl_tf.serving_labels import read_labels

    with connect(kind, served, label="stable") as stable, connect(kind, served, label="canary") as canary:
        before = stable.rank(CONTEXT | {"history_price": [1, 2]}, ITEMS).score
        other = 1 if read_labels(served.directory)["stable"] % 2 else 0
        version = push(served.models[other], served.directory, "stable")
        deadline = time.monotonic() + 30
        while True:
            now = stable.rank(CONTEXT | {"history_price": [1, 2]}, ITEMS).score
            same = canary.rank(CONTEXT | {"history_price": [1, 2]}, ITEMS).score
            if np.abs(now - before).max() > 1e-6 and np.abs(now - same).max() < 1e-6:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert stable.versions() == [version]
