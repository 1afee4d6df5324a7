"""TensorBoard of a run and of a study: every tab that should have something has it."""

from __future__ import annotations

import json
import urllib.request

import pytest

from rmtl_tf.files import read_json
from tests.e2e.conftest import only

# TensorBoard is made of web components: their texts are in shadow trees.
TEXT = """(() => {
  const read = node => [...node.childNodes].map(child =>
    child.nodeType === 3 ? child.textContent
    : child.nodeType !== 1 || ['STYLE', 'SCRIPT', 'TEMPLATE'].includes(child.tagName) ? ''
    : (child.shadowRoot ? read(child.shadowRoot) : '') + ' ' + read(child) + ' ').join(' ');
  return read(document.body).replace(/\\s+/g, ' ');
})()"""
NOTHING = ("No dashboards are active", "No data for the current dashboard", "No scalar data was found")


def has(*words: str) -> str:
    """The expression that the page shows all these words."""
    return f"(text => {json.dumps(words)}.every(word => text.includes(word)))({TEXT})"


@pytest.fixture(scope="module")
def of_run(serve, root):
    return serve(only(root, "Trainer/*/model_run/tensorboard"))


@pytest.fixture(scope="module")
def of_study(serve, study):
    return serve(study / "tensorboard")


def shown(browser, address, tab, *words):
    """Opens a tab and waits for its words; what the page says."""
    browser.open(f"{address}#{tab}", 1280, 1000)
    browser.until(has(*words), 60)
    text = browser.ask(TEXT)
    assert not [nothing for nothing in NOTHING if nothing in text], text
    severe = [
        message for message in browser.messages() if "TypeError" in message or "ReferenceError" in message
    ]
    assert severe == []
    elsewhere = [
        url for url in browser.requests() if not url.startswith((address, "data:", "blob:", "chrome:"))
    ]
    assert elsewhere == []
    return text


def get(address, path):
    with urllib.request.urlopen(f"{address}data/{path}", timeout=30) as answer:
        return json.load(answer)


def test_scalars_have_every_arm_of_the_run(browser, of_run, root):
    run = read_json(only(root, "Trainer/*/model_run/run.json"))
    arms = [f"finetune-{arm['name']}" for arm in run["arms"] if arm["name"] != "pretrained"]
    text = shown(browser, of_run, "timeseries", "pretrain", *arms)
    assert "actor" in text
    tags = get(of_run, "plugin/scalars/tags")
    for name in ("pretrain", *arms):
        assert {"actor/validation_auc", "actor/train_loss"} <= tags[name].keys()


def test_hparams_have_a_line_for_every_arm(browser, of_run, root):
    run = read_json(only(root, "Trainer/*/model_run/run.json"))
    shown(browser, of_run, "hparams", *(f"{arm['name']}-" for arm in run["arms"]))


def test_text_explains_runs_and_tags(browser, of_run):
    shown(browser, of_run, "text", "guide", "configuration", "phase A: the actor")


def test_pictures_and_histograms_are_there(of_run):
    assert any(
        "critic/q_against_return" in tag
        for tags in get(of_run, "plugin/images/tags").values()
        for tag in tags
    )
    assert any(
        tag.startswith("omega/") for tags in get(of_run, "plugin/histograms/tags").values() for tag in tags
    )


def test_hparams_of_a_study_have_every_trial_its_fields_and_the_metric(browser, of_study, study):
    trials = [path.name for path in sorted((study / "tensorboard").glob("trial-*"))]
    assert len(trials) == 8
    fields = ("training.pretrain.learning_rate", "model.embedding_dim", "model.id_dropout", "model.backbone")
    shown(browser, of_study, "hparams", *fields, "control: validation auc", *trials)


def test_scalars_of_a_study_compare_the_epochs_of_trials(browser, of_study):
    shown(browser, of_study, "timeseries", "trial-0000", "trial-0007", "pretrain")
    tags = get(of_study, "plugin/scalars/tags")
    assert {"pretrain/validation_auc"} <= tags["trial-0000"].keys()


def test_text_of_a_study_says_what_was_sought(browser, of_study):
    shown(browser, of_study, "text", "Each run is a trial", "highest validation")
