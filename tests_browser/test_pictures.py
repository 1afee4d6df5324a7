"""The pictures of the README: what the browser shows of the simulator's run and of a study on it.

    make pictures

Without `--pictures` the same is drawn for the small run and thrown away.
"""

from __future__ import annotations

import time

import pytest

from tests.e2e.conftest import only
from tests_browser.test_tensorboard import has

LIMIT = 300_000  # bytes: a README should open at once
SCALARS = (
    "runFilter=pretrain%24%7Cfinetune&tagFilter=actor%2Fvalidation_auc%2F%7Comega%2F(click%7Cconversion)%24"
)


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    return request.config.getoption("--pictures") or tmp_path_factory.mktemp("pictures")


def check(file):
    content = file.read_bytes()
    assert content[:4] == b"\x89PNG"
    assert 10_000 < len(content) < LIMIT


def test_report(browser, report, folder):
    browser.open(report.as_uri())
    browser.picture(folder / "report.png", 1500)
    check(folder / "report.png")


def test_study(browser, study, folder):
    browser.open((study / "tuning.html").as_uri())
    browser.picture(folder / "tuning.png", 1500)
    check(folder / "tuning.png")


def test_tensorboard(browser, serve, root, folder):
    address = serve(only(root, "Trainer/*/model_run/tensorboard"))
    browser.open(f"{address}?smoothing=0&{SCALARS}#timeseries", 1280, 960)
    browser.until(has("finetune-control", "actor/validation_auc", "/click"))
    button = "[...document.querySelectorAll('button')].find(e => e.textContent.includes('Settings'))"
    browser.ask(f"{button}.click()")  # what hides a third of the charts is open at first
    time.sleep(4)  # lines are drawn as their points arrive
    browser.picture(folder / "tensorboard.png")
    check(folder / "tensorboard.png")


def test_hparams_of_the_study(browser, serve, study, folder):
    browser.open(f"{serve(study / 'tensorboard')}#hparams", 1280, 720)
    browser.until(has("trial-0007", "model.backbone"), 60)
    time.sleep(2)
    browser.picture(folder / "hparams.png")
    check(folder / "hparams.png")
