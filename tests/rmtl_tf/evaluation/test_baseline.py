from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.errors import UserError
from rmtl_tf.evaluation.baseline import PushedModel


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    class Model(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, "price"),
                tf.TensorSpec([None], tf.string, "user"),
            ]
        )
        def serve(self, price, user):
            return {"click": tf.sigmoid(price), "buy": tf.cast(user == "a", tf.float32), "score": price}

    model, path = Model(), tmp_path_factory.mktemp("v") / "1"
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.serve})
    return path


def batch(*prices):
    return {
        "price": np.float32(prices),
        "user": np.array([b"a"] * len(prices), object),
        "more": np.zeros(len(prices)),
    }


def test_probabilities_come_in_task_order_over_all_batches(pushed):
    got = PushedModel(pushed).probabilities([batch(0.0, 1.0), batch(-1.0)], ["buy", "click"])
    np.testing.assert_allclose(
        got, [[1, 0.5], [1, 1 / (1 + np.exp(-1))], [1, 1 / (1 + np.exp(1))]], rtol=1e-6
    )


def test_an_input_the_data_lacks_is_named(pushed):
    with pytest.raises(UserError, match=r"price.*push\.directory"):
        PushedModel(pushed).probabilities([{"user": np.array([b"a"], object)}], ["click"])


def test_a_task_the_model_lacks_is_named(pushed):
    with pytest.raises(UserError, match="like"):
        PushedModel(pushed).probabilities([batch(1.0)], ["click", "like"])


def test_a_model_says_how_far_back_it_looks_and_one_that_does_not_looks_nowhere(pushed, tmp_path):
    module = tf.Module()
    module.history_length = tf.Variable(7)
    tf.saved_model.save(module, str(tmp_path))
    assert PushedModel(tmp_path).history_length == 7
    assert PushedModel(pushed).history_length == 0
