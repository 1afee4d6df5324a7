"""The page: complete, self-contained, equal to the JSON it is made of, and unbroken by odd data."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from rmtl_tf.data.collisions import COLLISIONS_FILE
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json, write_json
from rmtl_tf.report.artifacts import read_artifacts
from rmtl_tf.report.build import build_report, render
from rmtl_tf.report.findings import findings, headline
from rmtl_tf.report.text import METRICS, NO_CLEAR_DIFFERENCE, UNDEFINED, Estimate, number
from tests.rmtl_tf.report.demo import ANOMALIES, ARMS, CONFIG, TASKS, build_demo, check
from tests.rmtl_tf.report.demo import METRICS as KEYS

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements and text; fails on unbalanced tags. `cells` maps (task, arm, metric) to its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: dict[tuple[str | None, ...], str] = {}
        self.text = ""
        self._cell: tuple[str | None, ...] | None = None
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td" and "data-metric" in dict(attrs):
            a = dict(attrs)
            self._cell = (a["data-task"], a["data-arm"], a["data-metric"])
            self.cells[self._cell] = ""

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "td":
            self._cell = None

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.text += data
        if self._cell:
            self.cells[self._cell] += data

    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's artifacts; read only."""
    return build_demo(tmp_path_factory.mktemp("demo"), records=600)


@pytest.fixture(scope="module")
def html(demo, tmp_path_factory):
    return report(demo, tmp_path_factory.mktemp("page"))


@pytest.fixture
def changed(demo, tmp_path):
    """A copy of the artifacts, and a function that edits one of their JSON files."""
    root = demo["statistics"].parents[2]
    shutil.copytree(root, tmp_path / "copy")
    inputs = {key: tmp_path / "copy" / path.relative_to(root) for key, path in demo.items()}

    def edit(key, name, change):
        values = read_json(inputs[key] / name)
        write_json(inputs[key] / name, change(values) or values)

    return inputs, edit


def report(inputs, folder) -> str:
    build_report(inputs, folder / "report.html", "demo run", CONFIG)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_page_parses_and_has_each_task_arm_and_section(html):
    page = Page(html)
    for word in (*TASKS, *ARMS, "demo run", "Blessed", "Pushed", "simulator"):
        assert word in page.text
    targets = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert targets <= set(ids)
    assert {"comparison", "curves", "omega", "critics", "slices", "data", "quarantine", "lineage"} <= targets
    assert len(ids) == len(set(ids))


def test_page_loads_nothing_and_runs_nothing(html):
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action"):
                assert (value or "").startswith("#")
    assert not re.search(r"https?://|@import|url\((?!#)", html)


def test_each_heading_is_followed_by_a_sentence_that_explains_it(html):
    headings = re.findall(r'<h2 id="[a-z]+">[^<]*</h2>\s*<p class="lead">[^<]{30,}', html)
    assert len(headings) == html.count("<h2 ")


def test_comparison_equals_the_json(demo, html):
    page = Page(html)
    metrics = read_json(demo["evaluation"] / "evaluation.json")["metrics"]
    for arm in ARMS:
        for task in TASKS:
            for metric in METRICS:
                entry = metrics[arm][task][metric.key]
                shown = page.cells[task, arm, metric.key].split()
                expected = [number(entry[part], metric.digits) for part in ("value", "low", "high")]
                assert [shown[0], shown[1], shown[3]] == expected


def test_differences_are_judged_by_their_intervals(demo, html):
    page = Page(html)
    differences = read_json(demo["evaluation"] / "evaluation.json")["difference"]
    seen = set()
    for arm, by_task in differences.items():
        for task, by_metric in by_task.items():
            for metric in METRICS:
                estimate = Estimate.read(by_metric[metric.key])
                cell = " ".join(page.cells[task, arm, metric.key].split())
                clear = not estimate.low <= 0 <= estimate.high
                assert (NO_CLEAR_DIFFERENCE in cell) != clear
                seen.add(clear)
    assert seen == {True, False}
    assert not any(word in page.cells["click", "control", "auc"] for word in ("better", "worse", "no clear"))


@pytest.mark.parametrize(
    ("auc", "logloss", "sentence", "tone"),
    [
        ((0.001, 0.003), (-0.002, 0.002), "ranks better than the control", "better"),
        ((-0.001, 0.003), (-0.002, 0.002), f"shows {NO_CLEAR_DIFFERENCE} to the control", "neutral"),
        ((-0.003, -0.001), (-0.002, 0.002), "ranks worse than the control", "worse"),
        ((0.001, 0.003), (0.001, 0.002), "its mean Logloss is worse", "neutral"),
        ((math.nan, math.nan), (0.001, 0.002), "is not defined on this data", "neutral"),
    ],
)
def test_headline_says_what_the_intervals_allow(changed, auc, logloss, sentence, tone):
    inputs, edit = changed

    def change(values):
        for key, (low, high) in (("auc", auc), ("logloss", logloss)):
            entry = {"value": (low + high) / 2, "low": low, "high": high}
            values["difference"]["recommended"]["mean"][key] = entry

    edit("evaluation", "evaluation.json", change)
    shown = headline(read_artifacts(inputs))
    assert shown[1] == tone
    assert sentence in shown[0]


def test_headline_and_findings_stand_on_the_page(demo, html):
    artifacts = read_artifacts(demo)
    words = Page(html).words()
    assert headline(artifacts)[0] in words
    assert {arm for arm, _ in findings(artifacts)} == {"paper", "recommended"}
    for arm, sentence in findings(artifacts):
        assert f"{arm} {sentence}" in words


def test_same_input_same_bytes_in_another_process_with_another_hash_seed(demo, html, tmp_path):
    code = (
        "import json, sys; from pathlib import Path; from rmtl_tf.report.build import build_report;"
        "inputs = {k: Path(v) for k, v in json.loads(sys.argv[1]).items()};"
        "build_report(inputs, Path(sys.argv[2]), 'demo run', json.loads(sys.argv[3]))"
    )
    paths = json.dumps({key: str(path) for key, path in demo.items()})
    command = [sys.executable, "-c", code, paths, str(tmp_path / "again.html"), json.dumps(CONFIG)]
    project = Path(__file__).resolve().parents[3]
    subprocess.run(command, check=True, cwd=project, env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(project)})
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_hostile_strings_are_shown_not_run(changed, tmp_path):
    inputs, edit = changed
    evil = "<script>alert(1)</script>"

    def features(values):
        values["features"]["category"]["top"] = [
            [evil, 5],
            ['"><img src=x onerror=y>', 3],
            ["\udc80\x00", 1],
            ["", 1],
        ]
        values["features"][evil] = {"kind": evil, "missing": 1, "unique": 1, "top": []}
        values["reasons"] = {evil: 3}
        values["files"] = {evil: {"rows": 1, "bad": 0, "sha256": "0" * 64}}

    edit("statistics", "statistics.json", features)
    row = f'events.csv,1,"{evil}",x,"a\0b{evil}"\n'
    (inputs["statistics"] / "quarantine.csv").write_text("file,line,reason,column,value\n" + row)
    edit("pushed", "pushed.json", lambda v: v.update(pushed=False, path=None, reason=evil))
    edit(
        "blessing",
        "blessing.json",
        lambda v: v.update(blessed=False, checks=[check(evil, evil, None, evil, False)]),
    )
    html = report(inputs, tmp_path)
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "img" not in {tag for tag, _ in page.tags}
    assert page.text.count(evil) >= 6
    assert "\0" not in html


def test_quarantine_shows_reasons_by_count_and_the_first_rows(demo, html):
    reasons = read_json(demo["statistics"] / "statistics.json")["reasons"]
    shown = re.findall(r'<tr data-reason="([^"]*)">.*?</i>([\d,]+)</td>', html)
    assert shown == [(reason, str(n)) for reason, n in sorted(reasons.items(), key=lambda pair: -pair[1])]
    assert "−3,5" not in html
    assert "-3,5" in html


def test_empty_quarantine_is_good_news(changed, tmp_path):
    inputs, edit = changed
    edit("statistics", "statistics.json", lambda v: v.update(reasons={}, bad_rows=0))
    (inputs["statistics"] / "quarantine.csv").write_text("file,line,reason,column,value\n")
    edit("anomalies", "anomalies.json", lambda v: v.update(anomalies=[], comparisons=[]))
    page = report(inputs, tmp_path)
    assert "No row was set aside" in page
    assert "No anomaly in 10,675 session records." in page
    assert "Drift and skew" not in page


def test_anomalies_and_distances_are_shown_the_first_hundred_of_them(html):
    page = Page(html)
    assert sum("data-rule" in attributes for _, attributes in page.tags) == 100
    assert ANOMALIES["anomalies"][0]["sentence"] in page.text
    assert f"And {len(ANOMALIES['anomalies']) - 100} more" in page.text
    assert "0.0830" in page.text
    assert "68.3 %" in page.text


def test_lineage_lists_all_steps_upstream_first(html):
    lineage = html[html.index('id="lineage"') :]
    places = [
        lineage.index(f"<th>{step}</th>")
        for step in ("LogSimulator", "ExampleGen", "Transform", "Trainer", "Pusher")
    ]
    assert places == sorted(places)
    assert "tensorflow: 2.21.0" in lineage


def test_numbers_of_omega_critics_splits_and_features_equal_the_json(demo, html):
    run = read_json(demo["model_run"] / "run.json")
    rows = dict(re.findall(r'<tr data-omega="([^"]*)">(.*?)</tr>', html))
    for arm, by_task in run["omega"].items():
        for task, stats in by_task.items():
            cells = re.findall(r"<td>(.*?)</td>", rows[f"{arm}/{task}"])
            assert cells == [number(stats[key], 3) for key in ("mean", "std", "p50", "p99", "max")]
    rows = dict(re.findall(r'<tr data-critic="([^"]*)">(.*?)</tr>', html))
    assert set(rows) == {f"{arm}/{task}" for arm in ("paper", "recommended") for task in TASKS}
    assert "0.082" in rows["paper/click"]
    assert "does not follow it" in rows["paper/click"]
    rows = dict(re.findall(r'<tr data-split="([^"]*)">(.*?)</tr>', html))
    assert "35,890" in rows["train"]
    assert "2024-01-01 00:00" in rows["train"]
    assert "18.1 %" in rows["train"]
    assert "1,702" in html


def test_agents_without_weights_and_powers_chosen_by_validation_have_their_rows(changed, tmp_path):
    inputs, edit = changed

    def change(run):
        for arm in run["arms"]:
            arm["agent"] = {"name": "rmtl", "start": "pretrained"}
        scratch, powered = run["arms"][2:]
        scratch |= {"agent": {"name": "ddpg", "start": "scratch", "tau": 0.2}, "weighting": None}
        del run["omega"]["paper"]
        choice = {"chosen": {"click": -1.0, "conversion": 0.0}, "candidates": {"-1": {}, "0": {}, "1": {}}}
        powered |= {"power": choice, "weighting": {"name": "rmtl", "power": "validation"}}
        for entry in run["history"]:
            if (entry["phase"], entry["arm"]) == ("finetune", "paper"):
                entry["phase"] = "scratch"

    edit("model_run", "run.json", change)
    path = inputs["model_run"] / "omega.npz"
    with np.load(path) as omega:
        kept = {name: omega[name] for name in omega.files if name != "paper"}
    np.savez(path, **kept)
    html = report(inputs, tmp_path)
    assert "ddpg, start scratch, tau 0.2" in html
    assert "power by validation AUC: −1 for click, 0 for conversion; tried −1, 0 and 1" in html
    assert "Agents from scratch" in html
    assert 'data-omega="paper/' not in html
    assert 'data-critic="paper/click"' in html


def test_a_bare_run_without_arrays_lineage_slices_or_critics_still_gives_a_page(changed, tmp_path):
    inputs, edit = changed
    for path in inputs["statistics"].parents[2].rglob("execution.json"):
        path.unlink()
    for path in (inputs["model_run"] / "omega.npz", inputs["evaluation"] / "predictions.npz"):
        path.unlink()
    (inputs["statistics"] / "quarantine.csv").unlink()
    shutil.rmtree(inputs["transform_graph"] / "vocabulary")
    (inputs["model_run"] / "tensorboard").rmdir()
    edit(
        "model_run",
        "run.json",
        lambda v: v.update(history=[], omega={}, critics={}, arms=[], samples_per_second={}),
    )
    edit("evaluation", "evaluation.json", lambda v: v.update(slices=[], baseline=None, difference={}))
    edit("infra_blessing", "infra.json", lambda v: v.update(blessed=False, checks=[], timings={}))
    edit("blessing", "blessing.json", lambda v: v.update(checks=[]))
    edit("statistics", "statistics.json", lambda v: {"records": 0})
    page = Page(report(inputs, tmp_path))
    for sentence in (
        "No predictions were kept",
        "No slices were measured",
        "No weights were recorded",
        "No arm of this run has a critic",
        "No history was recorded",
        "No model had been pushed before",
        "No lineage was recorded",
    ):
        assert sentence in page.text


def test_an_undefined_task_is_a_dash_and_a_sentence(changed, tmp_path):
    inputs, edit = changed

    def undefine(values):
        for arm in values["metrics"]:
            values["metrics"][arm]["conversion"] = {
                key: {"value": math.nan, "low": None, "high": math.nan} for key in KEYS
            }
        for arm in values["difference"]:
            values["difference"][arm]["conversion"] = dict.fromkeys(KEYS)
            values["difference"][arm]["mean"] = {
                "auc": {"value": math.nan, "low": math.nan, "high": math.nan}
            }

    edit("evaluation", "evaluation.json", undefine)
    with np.load(inputs["evaluation"] / "predictions.npz") as arrays:
        values = {name: arrays[name] for name in arrays.files}
    values["labels"][:, 1] = 0
    values["probabilities/control"][3, 0] = np.nan
    np.savez(inputs["evaluation"] / "predictions.npz", **values)
    html = report(inputs, tmp_path)
    page = Page(html)
    assert page.cells["conversion", "recommended", "auc"].split()[0] == UNDEFINED
    assert "only one class of label" in page.text
    assert "ROC, click" in html
    assert "ROC, conversion" not in html
    assert "Calibration, conversion" in html
    assert "nan" not in page.words().lower().split()


def test_a_model_that_is_not_blessed_says_why(changed, tmp_path):
    inputs, edit = changed
    failing = check("click: AUC", 0.4871, 0.5, "must be above the threshold", passed=False)
    edit("blessing", "blessing.json", lambda v: v.update(blessed=False, checks=[failing, *v["checks"]]))
    edit(
        "pushed",
        "pushed.json",
        lambda v: v.update(pushed=False, version=None, path=None, reason="not pushed: not blessed"),
    )
    words = Page(report(inputs, tmp_path)).words()
    assert "Not blessed" in words
    assert "Failed: click: AUC." in words
    assert "✗ click: AUC: 0.4871, threshold 0.5 (must be above the threshold)." in words
    assert "Not pushed not blessed" in words


def test_exporting_the_control_claims_nothing(changed):
    inputs, edit = changed
    edit("evaluation", "evaluation.json", lambda v: v.update(export="control"))
    assert "nothing is claimed" in headline(read_artifacts(inputs))[0]


def test_configuration_falls_back_to_what_the_trainer_recorded(demo, tmp_path):
    build_report(demo, tmp_path / "report.html", "demo")
    assert "embedding_dim: 16" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [None, "{broken", "[]"])
def test_a_missing_or_broken_json_file_is_named(changed, tmp_path, text):
    inputs, _ = changed
    path = inputs["evaluation"] / "evaluation.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"evaluation\.json"):
        report(inputs, tmp_path)


def test_hashed_features_and_memory_are_shown_where_there_are_any(tmp_path):
    inputs = build_demo(tmp_path / "plain")
    plain = render(read_artifacts(inputs), "demo")
    assert "Hashed features" not in plain
    assert "Estimated before training" not in plain
    shared = {
        "buckets": 100_000,
        "used_buckets": 31_234,
        "expected_used_buckets": 31_111.4,
        "vocabulary_values": 2_000,
        "hashed_values": 37_321,
        "sharing_values": 0.312,
        "expected_sharing": 0.3115,
        "sharing_of_all_records": 0.0123,
    }
    write_json(inputs["transform_graph"] / COLLISIONS_FILE, {"item_id": shared})
    run = inputs["model_run"] / "run.json"
    tables = [{"feature": "item_id", "rows": 102_002, "width": 32, "bytes": 13_056_256}]
    memory = {"tables": tables, "peak": 3 * 2**30, "available": 20 * 2**30}
    write_json(run, {**read_json(run), "memory": memory})
    page = Page(render(read_artifacts(inputs), "demo"))
    for shown in ("100,000", "31,234", "31,111", "37,321", "31.2 %", "1.2 %", "102,002"):
        assert shown in page.text, shown
    assert "3 GiB at the peak, 20 GiB were available" in page.text
