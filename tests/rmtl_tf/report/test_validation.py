"""What the page says about data validation."""

from __future__ import annotations

import pytest

from rmtl_tf.files import write_json
from rmtl_tf.report.build import build_report
from tests.rmtl_tf.report.demo import ANOMALIES, build_demo
from tests.rmtl_tf.report.test_build import Page


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return build_demo(tmp_path_factory.mktemp("demo"), records=300)


def page(demo, found) -> Page:
    write_json(demo["anomalies"] / "anomalies.json", found)
    path = demo["anomalies"] / "report.html"
    build_report(demo, path, "demo")
    return Page(path.read_text(encoding="utf-8"))


def test_anomalies_and_distances_are_shown(demo):
    shown = page(demo, ANOMALIES)
    assert [attributes["data-rule"] for _, attributes in shown.tags if "data-rule" in attributes] == ["skew"]
    assert ANOMALIES["anomalies"][0]["sentence"] in shown.text
    assert "0.0830" in shown.text
    assert "68.3" in shown.text


def test_no_anomaly_is_said(demo):
    shown = page(demo, {**ANOMALIES, "anomalies": [], "comparisons": []})
    assert "No anomaly in 10,675 session records." in shown.text
    assert "Drift and skew" not in shown.text


def test_very_many_anomalies_are_cut(demo):
    shown = page(demo, {**ANOMALIES, "anomalies": ANOMALIES["anomalies"] * 250})
    assert sum("data-rule" in attributes for _, attributes in shown.tags) == 100
    assert "And 150 more" in shown.text
