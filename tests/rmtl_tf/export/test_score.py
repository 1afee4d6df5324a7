from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.errors import UserError
from rmtl_tf.export.score import ScoreFormula

TASKS = ["click", "buy"]
P = {"click": np.float32([0.5, 0.1, 1.0, 0.0]), "buy": np.float32([0.2, 0.9, 0.0, 0.3])}


@pytest.mark.parametrize(
    ("weights", "combine", "expected"),
    [
        ({"click": 1.0, "buy": 2.0}, "product", P["click"] * P["buy"] ** 2),
        ({"buy": 0.5}, "product", P["buy"] ** 0.5),
        ({"click": 0.3, "buy": 4.0}, "sum", 0.3 * P["click"] + 4 * P["buy"]),
        ({"click": -1.0}, "sum", -P["click"]),
        ({}, "product", P["click"] * P["buy"]),
        ({}, "sum", P["click"] + P["buy"]),
    ],
)
def test_score_is_the_product_of_powers_or_the_weighted_sum(weights, combine, expected):
    formula = ScoreFormula.of(weights, combine, TASKS)
    score = formula({name: tf.constant(values) for name, values in P.items()})
    assert score.dtype == tf.float32
    np.testing.assert_allclose(score, expected, rtol=1e-6)


def test_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(UserError, match='did you mean "click"'):
        ScoreFormula.of({"clik": 1.0}, "product", TASKS)


@pytest.mark.parametrize("name", ["score", "order"])
def test_task_with_the_name_of_another_output_is_refused(name):
    with pytest.raises(UserError, match=f"cannot be named '{name}'"):
        ScoreFormula.of({}, "sum", ["click", name])
