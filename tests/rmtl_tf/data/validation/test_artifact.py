from __future__ import annotations

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2

from rmtl_tf.data.validation.anomaly import Anomaly
from rmtl_tf.data.validation.artifact import stop_on_errors, summary, write_validation
from rmtl_tf.data.validation.compare import Comparison
from rmtl_tf.data.validation.examples import Validation
from rmtl_tf.data.validation.rules import RULES
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json

INFO = anomalies_pb2.AnomalyInfo
FOUND = Validation(
    {"train": 5, "test": 2},
    [
        Anomaly("value_not_allowed", "ERROR", "device", "train", "f", 3, 1, 4, "s1", "'watch'"),
        Anomaly("missing_value", "ERROR", "device", "train", "f", 1, 2, 2, "s2", "''"),
        Anomaly("type", "ERROR", "", "train", "f", 1, 0, 0, "", "no tf.train.Example"),
        Anomaly("skew", "WARNING", "item", "test", value="0.4", detail="far", type="COMPARATOR_L_INFTY_HIGH"),
    ],
    [
        Comparison("item", "skew", "infinity_norm", "train", "test", "test", 0.2, 0.4, "a", 0.1, 0.5),
        Comparison("item", "skew", "jensen_shannon", "train", "test", "test", 0.2, 0.1, "a", 0.1, 0.5),
        Comparison(
            "price",
            "drift",
            "jensen_shannon",
            "earlier train",
            "train",
            "train",
            0.2,
            0.1,
            "0 to 1",
            0.1,
            0.2,
        ),
    ],
)


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_every_rule_is_a_reason_that_tensorflow_metadata_knows(rule):
    assert INFO.Type.Value(rule.type) > 0
    assert INFO.Severity.Value(rule.severity) > 0


def test_json_says_everything_in_words(tmp_path):
    write_validation(FOUND, tmp_path)
    written = read_json(tmp_path / "anomalies.json")
    assert (written["examples"], written["errors"], written["warnings"]) == ({"train": 5, "test": 2}, 3, 1)
    first = written["anomalies"][0]
    assert (first["rule"], first["feature"], first["first_row"], first["value"]) == (
        "value_not_allowed",
        "device",
        1,
        "'watch'",
    )
    assert first["sentence"].startswith(
        "f: feature 'device' has a value outside its string_domain; value 'watch'"
    )
    assert [comparison["passed"] for comparison in written["comparisons"]] == [False, True, True]


def test_schema_diff_is_tfxs_proto_of_each_split(tmp_path):
    write_validation(FOUND, tmp_path)
    train, test = (
        anomalies_pb2.Anomalies.FromString((tmp_path / f"Split-{split}" / "SchemaDiff.pb").read_bytes())
        for split in ("train", "test")
    )
    device = train.anomaly_info["device"]
    assert (device.severity, device.short_description) == (INFO.ERROR, "Multiple errors")
    assert [reason.type for reason in device.reason] == [
        INFO.ENUM_TYPE_UNEXPECTED_STRING_VALUES,
        INFO.FEATURE_TYPE_NOT_PRESENT,
    ]
    assert list(device.path.step) == ["device"]
    assert train.dataset_anomaly_info.reason[0].type == INFO.UNEXPECTED_DATA_TYPE
    assert test.anomaly_info["item"].severity == INFO.WARNING
    (skew,) = test.drift_skew_info
    assert [(m.value, m.threshold) for m in skew.skew_measurements] == [
        (pytest.approx(0.4), pytest.approx(0.2)),
        (pytest.approx(0.1), pytest.approx(0.2)),
    ]
    (drift,) = train.drift_skew_info
    kind = anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE
    assert (list(drift.path.step), drift.drift_measurements[0].type) == (["price"], kind)


def test_errors_stop_with_what_to_do_and_warnings_do_not(tmp_path):
    with pytest.raises(
        UserError, match=r"(?s)3 anomalies of severity ERROR.*value 'watch'.*What to do"
    ) as caught:
        stop_on_errors(FOUND, [tmp_path / "anomalies.json"])
    assert caught.value.keep == (tmp_path / "anomalies.json",)
    stop_on_errors(Validation({}, FOUND.anomalies[3:], []), [])


def test_the_console_has_one_line():
    assert summary(Validation({"train": 1200}, [], [])) == "1,200 Examples: no anomaly"
    assert summary(FOUND).startswith("7 Examples: 3 errors, 1 warnings; first: f: feature 'device'")
    assert "\n" not in summary(FOUND)
