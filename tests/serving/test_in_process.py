"""A SavedModel in a session: the same answers as TensorFlow's own loading, from several threads too."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.export.warmup import warm_up
from serving.in_process import SessionModel

ROWS = {
    "user": ["ann", "bob"],
    "item": ["i1", "new"],
    "tag": [["red", "blue"], ["", ""]],
    "price": [2.5, np.nan],
    "t": [7200, -1],
    "history_item": [["i3"], [""]],
    "history_price": [[1.0], [np.nan]],
    "history_click": [[2], [0]],
}


@pytest.fixture(scope="module")
def model(models: tuple[Path, ...]) -> SessionModel:
    return SessionModel(models[0])


def test_it_answers_as_the_eagerly_loaded_model(model: SessionModel, models: tuple[Path, ...]) -> None:
    eager = tf.saved_model.load(str(models[0])).signatures["serving_default"]
    specs = model.inputs["serving_default"]
    expected = eager(**{name: tf.constant(v, specs[name].dtype) for name, v in ROWS.items()})
    answer = model.predict(ROWS)
    assert answer.keys() == expected.keys()
    for name, values in answer.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[name], atol=1e-7)
    encoded = {
        name: np.array(v, object if specs[name].dtype == tf.string else specs[name].dtype.as_numpy_dtype)
        for name, v in ROWS.items()
    }
    encoded["user"] = np.array([b"ann", b"bob"])
    np.testing.assert_array_equal(model.predict(encoded)["score"], answer["score"])


def test_signatures_are_those_of_the_model_and_the_warm_up_calls_each(
    model: SessionModel, models: tuple[Path, ...]
) -> None:
    assert model.inputs.keys() == {"serving_default", "serve_examples", "rank"}
    assert model.inputs["rank"]["item"] == tf.TensorSpec([None, None], tf.string)
    assert model.outputs["rank"].keys() == {"click", "buy", "score", "order"}
    called = []
    warm_up(
        lambda inputs, name: called.append((name, model.predict(inputs, name))), models[0].parent / "warmup"
    )
    assert {name for name, _ in called} == model.inputs.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": ["cheap", "dear"]}, "input 'price': expected float32.*received string"),
        ({"t": [1.5, 2.0]}, "input 't': expected int64.*received float64"),
        ({"history_price": [[1.0], [1.0, 2.0]]}, "input 'history_price'"),
        ({"price": np.float64([1, 2])}, "input 'price': expected float32.*received float64"),
        ({"t": np.float32([1, 2])}, "input 't': expected int64.*received float32"),
        ({"item": [["i1"], ["i2"]]}, "input 'item': expected string.*received string \\[2, 1\\]"),
        ({"user": np.int64([1, 2])}, "input 'user': expected string.*received int64"),
        ({"usr": ["ann"]}, "extra: \\['usr'\\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_the_input(
    model: SessionModel, change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model.predict({**ROWS, **change})


def test_unknown_signature_and_missing_input_are_named(model: SessionModel) -> None:
    with pytest.raises(ValueError, match=r"rnk.*serve_examples"):
        model.predict(ROWS, "rnk")
    with pytest.raises(ValueError, match="Missing: \\['user'\\]"):
        model.predict({name: values for name, values in ROWS.items() if name != "user"})


def test_threads_get_their_own_answers(model: SessionModel) -> None:
    one, other = ({name: [values[row]] for name, values in ROWS.items()} for row in (0, 1))
    expected = [model.predict(rows)["score"][0] for rows in (one, other)]
    assert abs(expected[0] - expected[1]) > 1e-6
    wrong: list[float] = []

    def loop(rows: dict, score: float) -> None:
        wrong.extend(s for _ in range(300) if (s := model.predict(rows)["score"][0]) != score)

    threads = [threading.Thread(target=loop, args=pair) for pair in zip((one, other), expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_model_answers_no_more(models: tuple[Path, ...]) -> None:
    model = SessionModel(models[1])
    model.predict(ROWS)
    model.close()
    with pytest.raises(ValueError, match="no signature"):
        model.predict(ROWS)
