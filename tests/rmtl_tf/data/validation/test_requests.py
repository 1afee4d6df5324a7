from __future__ import annotations

import math
from pathlib import Path

import pytest

import pipeline
from rmtl_tf.data.validation.requests import validate_requests
from rmtl_tf.errors import UserError
from rmtl_tf.schema import read_schema

from .conftest import FEEDBACK, SCHEMA, read_text, write
from .test_examples import write_statistics

CHECKOUT = Path(__file__).resolve().parents[4]


def request(**changed):
    values = {"user": [b"u"], "item": [b"a"], "device": [b"phone"], "price": [1.0], "time": [1_000_000]}
    return {name: value for name, value in (values | changed).items() if value is not None}


def found(tmp_path, examples, schema=None, environment="SERVING", **options):
    path = write(tmp_path / "requests.tfrecord", examples)
    return validate_requests(path, schema or read_text(), FEEDBACK, {}, environment, **options)


def rules(validation) -> list[tuple[str, str]]:
    return [(anomaly.rule, anomaly.feature) for anomaly in validation.anomalies]


def test_requests_without_labels_or_with_missing_values_are_right_in_serving(tmp_path):
    examples = [
        request(),
        request(device=None, price=None),
        request(price=[math.nan], device=[b""]),
        request(past_records=[2.0], session_id=[b"s"]),
    ]
    assert rules(found(tmp_path, examples)) == []


def test_lists_are_right_for_several_values_and_for_the_history(tmp_path):
    text = (
        SCHEMA.replace('tag: "step" tag: "log"', 'tag: "step"')
        + """feature {
      name: "tags" type: BYTES value_count { max: 3 } annotation { tag: "step" tag: "split:," }
      skew_comparator { infinity_norm { threshold: 0.1 } }
    }"""
    )
    schema = read_text(text)
    lists = {"tags": [b"a", b"b"], "history_item": [b"x", b""], "history_click": [1, 3], "history_price": []}
    statistics = write_statistics(tmp_path / "statistics", schema, {})  # every record has the tags a and b
    validation = found(
        tmp_path, [request(**lists), request(tags=[b"b", b"a"])], schema, statistics=statistics
    )
    assert rules(validation) == []
    assert [comparison.distance for comparison in validation.comparisons] == [0]
    validation = found(tmp_path, [request(tags=[b"a", b"c"])], schema, statistics=statistics)
    assert rules(validation) == [("skew", "tags")]


def test_in_training_labels_are_expected(tmp_path):
    assert rules(found(tmp_path, [request()], environment="TRAINING")) == [
        ("missing_feature", "click"),
        ("missing_feature", "buy"),
    ]


def test_a_schema_may_ask_for_labels_in_serving(tmp_path):
    schema = read_text(SCHEMA + 'default_environment: "SERVING"')
    assert ("missing_feature", "click") in rules(found(tmp_path, [request()], schema))


@pytest.mark.parametrize("name", ["simulator", "deskdrop"])
def test_the_shipped_schemas_have_no_labels_in_serving(tmp_path, name):
    schema = read_schema(CHECKOUT / "data_schemas" / f"{name}.pbtxt")
    values = {schema.user: [b"u"], schema.item: [b"i"], schema.timestamp: [1_000_000]}
    assert rules(found(tmp_path, [values], schema)) == []


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ({"item": None}, ("missing_value", "item")),
        ({"item": [b""]}, ("missing_value", "item")),
        ({"price": [-1.0]}, ("number_too_small", "price")),
        ({"price": [1]}, ("type", "price")),
        ({"price": [1.0, 2.0]}, ("too_many_values", "price")),
        ({"device": [b"watch"]}, ("value_not_allowed", "device")),
        ({"weather": [b"rain"]}, ("new_feature", "weather")),
    ],
)
def test_a_wrong_request_is_named_by_its_place(tmp_path, broken, rule):
    validation = found(tmp_path, [request(), request(**broken), request()])
    (anomaly,) = validation.anomalies
    assert (anomaly.rule, anomaly.feature) == rule
    assert (anomaly.file, anomaly.first_row) == ("requests.tfrecord", 1)


def test_skew_to_the_train_split_is_measured(tmp_path):
    text = SCHEMA.replace('name: "item"', 'name: "item" skew_comparator { infinity_norm { threshold: 0.2 } }')
    text = text.replace(
        'name: "price"', 'name: "price" skew_comparator { jensen_shannon_divergence { threshold: 0.2 } }'
    )
    schema = read_text(text)
    statistics = write_statistics(tmp_path / "statistics", schema, {"train": ["a", "b"]})
    same = [request(item=[name], price=[price]) for name, price in ((b"a", 0.0), (b"b", 1.0))]
    validation = found(tmp_path, same, schema, statistics=statistics)
    assert [(c.feature, c.distance, c.after) for c in validation.comparisons] == [
        ("item", 0, "SERVING"),
        ("price", 0, "SERVING"),
    ]
    validation = found(tmp_path, [request(item=[b"c"], price=[50.0])], schema, statistics=statistics)
    assert rules(validation) == [("skew", "item"), ("skew", "price")]
    assert [c.distance for c in validation.comparisons] == [1.0, 1.0]


@pytest.mark.parametrize("content", [None, []])
def test_no_requests_are_refused(tmp_path, content):
    path = tmp_path / "requests.tfrecord"
    if content is not None:
        write(path, content)
    with pytest.raises(UserError, match=r"requests\.tfrecord: expected .*found none"):
        validate_requests(path, read_text(), FEEDBACK, {})


class TestCommand:
    def _run(self, path: Path) -> int:
        arguments = ["--config", str(CHECKOUT / "configs" / "simulator.yaml"), "--examples", str(path)]
        schema = f"data.schema={CHECKOUT / 'data_schemas' / 'simulator.pbtxt'}"
        return pipeline.main(["validate", *arguments, "--set", schema])

    def test_right_requests_end_well(self, tmp_path, capsys):
        values = {"user_id": [b"u"], "item_id": [b"i"], "timestamp": [1_000_000], "device": [b"phone"]}
        assert self._run(write(tmp_path / "requests.tfrecord", [values])) == 0
        assert "1 Examples: no anomaly" in capsys.readouterr().out

    def test_wrong_requests_end_with_an_error_that_says_what_to_do(self, tmp_path, capsys):
        values = {"user_id": [b"u"], "item_id": [b"i"], "timestamp": [1_000_000], "device": [b"watch"]}
        assert self._run(write(tmp_path / "requests.tfrecord", [values])) == 2
        shown = capsys.readouterr()
        assert "value 'watch'" in shown.out
        assert "--set data.validation.severity.value_not_allowed=WARNING" in shown.err
