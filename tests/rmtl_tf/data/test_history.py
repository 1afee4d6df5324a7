from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from rmtl_tf.config import FeedbackConfig, HistoryConfig
from rmtl_tf.data.history import history_of, history_spec
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import HistorySpec, HistoryTask
from rmtl_tf.schema import DataSchema, Feature, Task

SCHEMA = DataSchema(
    features=(
        Feature("user", "categorical", context=True, required=True),
        Feature("item", "categorical", required=True),
        Feature("price", "numeric"),
        Feature("income", "numeric", context=True),
        Feature("time", "timestamp", required=True),
        Feature("clicked", "label", required=True),
        Feature("bought", "label", required=True),
    ),
    tasks=(Task("click"), Task("buy", "click")),
    labels=("clicked", "bought"),
    user="user",
    item="item",
    timestamp="time",
)
GRU = HistoryConfig(encoder="gru", length=7, heads=4)
ATTENTION = HistoryConfig(encoder="attention", length=7, heads=4)


def test_a_history_has_the_step_features_and_the_tasks_with_feedback():
    feedback = FeedbackConfig(label_delay={"buy": 60.9})
    tasks = (HistoryTask("click", "clicked", 0), HistoryTask("buy", "bought", 60))
    expected = HistorySpec("gru", 7, 1, "item", ("item", "price"), tasks)
    assert history_spec(GRU, feedback, SCHEMA) == expected
    assert history_spec(GRU, FeedbackConfig(exclude=("click",)), SCHEMA).tasks == (
        HistoryTask("buy", "bought", 0),
    )
    assert history_spec(GRU, FeedbackConfig(enabled=False), SCHEMA).tasks == ()
    assert history_spec(ATTENTION, feedback, SCHEMA).heads == 4
    assert history_spec(HistoryConfig(), feedback, SCHEMA) is None


def item_of_the_session(schema):
    features = [replace(f, context=f.name in ("user", "item", "income")) for f in schema.features]
    return replace(schema, features=tuple(features))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (item_of_the_session(SCHEMA), "tags 'item' as 'context'"),
        (replace(SCHEMA, item=None), "tags no feature 'item'"),
        (
            replace(SCHEMA, features=(*SCHEMA.features, Feature("click", "numeric"))),
            "'history_click'. Rename",
        ),
        (replace(SCHEMA, features=(*SCHEMA.features, Feature("history_item", "numeric"))), "'history_item'"),
    ],
)
def test_a_schema_that_cannot_have_one_is_refused_with_the_way_out(schema, message):
    with pytest.raises(UserError, match=message) as error:
        history_spec(GRU, FeedbackConfig(), schema)
    assert "model.history.encoder=none" in str(error.value)
    assert history_spec(HistoryConfig(), FeedbackConfig(), schema) is None


def test_a_task_that_is_not_there_is_corrected():
    with pytest.raises(UserError, match='did you mean "click"'):
        history_spec(GRU, FeedbackConfig(exclude=("clik",)), SCHEMA)


SESSION = [
    {"time": 30.9, "item": "c", "price": 3.0, "clicked": 1},
    {"time": 10, "item": "a", "price": 1.0, "clicked": 1, "bought": 1},
    {"time": 20, "item": "b", "clicked": 0},
    {"time": 20, "item": "b2", "price": None, "bought": 0},
]


def test_earlier_records_stand_in_time_order_with_what_is_known_of_them():
    lists = history_of(SESSION, 30.99, FeedbackConfig(label_delay={"buy": 10}), SCHEMA)
    assert lists["history_item"] == ["a", "b", "b2"]
    assert lists["history_price"][0] == 1.0
    assert [math.isnan(value) for value in lists["history_price"]] == [False, True, True]
    assert lists["history_click"] == [3, 2, 2]
    assert lists["history_buy"] == [3, 1, 1]  # 20 + 10 is not before 30
    assert set(lists) == {"history_item", "history_price", "history_click", "history_buy"}


def test_the_first_record_has_empty_lists():
    assert history_of([], 5, FeedbackConfig(), SCHEMA) == {
        f"history_{name}": [] for name in ("item", "price", "click", "buy")
    }
    assert history_of(SESSION, 10, FeedbackConfig(), SCHEMA)["history_item"] == []


def test_without_feedback_there_are_records_and_no_labels():
    lists = history_of(SESSION, 99, FeedbackConfig(enabled=False), SCHEMA)
    assert set(lists) == {"history_item", "history_price"}
    assert lists["history_item"] == ["a", "b", "b2", "c"]


def test_a_serving_client_needs_neither_numpy_nor_tensorflow():
    heavy = "{'polars', 'numpy', 'tensorflow', 'apache_beam'}"
    program = f"import sys, rmtl_tf.data.history; sys.exit(len({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_features_with_several_values_are_left_out():
    several = Feature("tags", "categorical", max_values=3, separator=",")
    schema = replace(SCHEMA, features=(*SCHEMA.features, several))
    spec = history_spec(HistoryConfig(encoder="mean"), FeedbackConfig(), schema)
    assert spec == history_spec(HistoryConfig(encoder="mean"), FeedbackConfig(), SCHEMA)
    assert "history_tags" not in history_of([], 0, FeedbackConfig(), schema)
