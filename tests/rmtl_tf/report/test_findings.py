"""Sentences and tables of the comparison where fine-tuning did not beat the pretrained model."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from rmtl_tf.report import findings
from rmtl_tf.report.artifacts import read_artifacts
from rmtl_tf.report.build import render
from rmtl_tf.report.comparison import forest, mean_table, table
from rmtl_tf.report.plots import looks
from rmtl_tf.report.text import SAME_MODEL
from rmtl_tf.report.training import learning_curves
from tests.rmtl_tf.report.demo import ARMS, TASKS, build_demo

NO_EPOCH = "no epoch of fine-tuning beat the pretrained model on validation data"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's artifacts; `after` makes changed copies."""
    return read_artifacts(build_demo(tmp_path_factory.mktemp("demo"), records=300))


def after(demo, kept, export="recommended", chosen=False):
    """The artifacts as if the fine-tuning of the arms `kept` had never beaten the pretrained model."""
    run, evaluation = copy.deepcopy(dict(demo.run)), copy.deepcopy(dict(demo.evaluation))
    for arm in run["arms"]:
        arm["incumbent_kept"] = arm["name"] in kept
    run["config"]["training"]["export"] = "best" if chosen else export
    evaluation["export"] = export
    same = {"pretrained", *kept}
    for arm in same - {"pretrained"}:
        evaluation["metrics"][arm] = evaluation["metrics"]["pretrained"]
    if "control" in kept:
        for arm in same - {"control"}:
            for by_metric in evaluation["difference"][arm].values():
                for metric in by_metric:
                    by_metric[metric] = {"value": 0.0, "low": 0.0, "high": 0.0}
    return replace(demo, run=run, evaluation=evaluation)


def test_nothing_is_said_where_every_fine_tuning_helped(demo):
    artifacts = after(demo, ())
    assert findings.standing(artifacts) is None
    assert "pretrained" not in findings.headline(artifacts)[0]


def test_one_arm_that_stayed_is_named(demo):
    arms, sentence = findings.standing(after(demo, ("paper",)))
    assert arms == "paper"
    assert sentence == f"{NO_EPOCH}, so the pretrained weights stand."


def test_arms_that_stayed_are_said_to_be_one_model(demo):
    arms, sentence = findings.standing(after(demo, ("control", "paper")))
    assert arms == "control and paper"
    assert sentence.startswith(NO_EPOCH)
    assert "one and the same model, the control among them, and do not differ from it" in sentence
    assert "the control among them" not in findings.standing(after(demo, ("paper", "recommended")))[1]


@pytest.mark.parametrize(
    ("kept", "export", "chosen", "words"),
    [
        (ARMS[1:], "control", True, "No epoch of fine-tuning, in any arm, beat the pretrained model"),
        (ARMS[1:], "recommended", False, "the exported arm “recommended” is the pretrained model"),
        (("control", "recommended"), "recommended", False, "there is no difference to measure"),
        (("recommended",), "recommended", False, "The arm “recommended” is the pretrained model"),
        (("control",), "recommended", True, "The arm “control” is the pretrained model"),
        (("control",), "control", True, "no other arm had a higher mean AUC, so nothing is claimed"),
        ((), "control", True, "no other arm had a higher mean AUC, so nothing is claimed"),
        ((), "control", False, "nothing is claimed for another arm"),
    ],
)
def test_the_headline_says_which_model_is_the_pretrained_one(demo, kept, export, chosen, words):
    sentence, tone = findings.headline(after(demo, kept, export, chosen))
    assert words in sentence
    assert "0.0000" not in sentence
    if export == "control" or ("control" in kept and export in kept):
        assert tone == "neutral"


def test_an_arm_equal_to_the_control_has_no_findings_but_its_standing(demo):
    assert {arm for arm, _ in findings.findings(after(demo, ("control", "paper")))} == {"recommended"}
    assert {arm for arm, _ in findings.findings(after(demo, ("paper",)))} == {"paper", "recommended"}


def test_tables_say_same_model_instead_of_zeros(demo):
    rows = table(after(demo, ("control", "paper")), "click")
    for row in rows:
        cells = {cell.arm: cell.difference for cell in row.cells}
        assert cells["control"] is None
        assert cells["pretrained"].verdict == cells["paper"].verdict == SAME_MODEL
        assert cells["paper"].value == ""
        assert cells["recommended"].verdict != SAME_MODEL


def test_plots_leave_out_arms_that_cannot_differ(demo):
    style = looks(ARMS, "recommended")
    some = forest(after(demo, ("control", "paper")), "auc", style)
    assert style["recommended"].color != style["paper"].color
    assert "var(--series-2)" in some
    assert f"var(--series-{style['paper'].slot})" not in some
    assert forest(after(demo, ARMS[1:]), "auc", style) is None
    assert mean_table(after(demo, ARMS[1:])) == ()


def test_the_page_says_it_in_words(demo):
    html = render(after(demo, ARMS[1:], "control", chosen=True), "demo")
    assert f"<b>control, paper and recommended</b>: {NO_EPOCH}" in html
    assert "No epoch of fine-tuning, in any arm" in html
    assert html.count(SAME_MODEL) >= 3 * 6 * len(TASKS)
    assert "Mean over tasks" not in html
    assert "Filled marker" not in html
    assert "Best mean AUC on validation data" in html
    assert "Best mean AUC on validation data" not in render(demo, "demo")


def test_fine_tuning_curves_show_the_pretrained_level(demo):
    run = copy.deepcopy(dict(demo.run))
    style = looks(ARMS, "recommended")
    before = learning_curves(demo, style)
    run["arms"][0]["validation"] = {"auc": 0.999, "auc/click": float("nan")}
    shown = learning_curves(replace(demo, run=run), style)
    assert [panel.plots for panel in shown[:2]] == [panel.plots for panel in before[:2]]
    changed = [a != b for a, b in zip(shown[2].plots, before[2].plots, strict=True)]
    assert sum(changed) == 1


def test_paths_are_written_from_the_pipeline_root(demo):
    inside = demo.root / "serving" / "demo" / "3"
    assert demo.below_root(str(inside)) == "serving/demo/3"
    assert demo.below_root("/elsewhere/models/3") == "/elsewhere/models/3"
    assert demo.below_root("models/3") == "models/3"
    html = render(replace(demo, pushed={"pushed": True, "version": "3", "path": str(inside)}), "demo")
    assert "<code>serving/demo/3</code>" in html
    assert str(demo.root) not in html
