"""A browser, a run, a study, and TensorBoard of both: once for all tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, only
from tests_browser.browser import Browser, wait_for

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--pictures", type=Path, help="folder to write docs/images/*.png to")
    parser.addoption("--root", type=Path, help="of a run and a study that are there already")


@pytest.fixture(scope="session")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def root(tmp_path_factory, request):
    """The root of a run and of a study of eight trials on its data; with `--pictures` of the whole simulator
    configuration."""
    if (there := request.config.getoption("--root")) is not None:
        return there
    root = tmp_path_factory.mktemp("browser") / "root"
    small = [] if request.config.getoption("--pictures") else SMALL
    settings = ["--config", "configs/simulator.yaml", "--set", f"root={root}", *small]
    for arguments in (
        ["run", *settings],
        ["tune", *settings, "tune.trials=8", "--space", "configs/tuning/simulator.yaml"],
    ):
        script = [sys.executable, "pipeline.py", *arguments]
        done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def report(root):
    return only(root, "Reporter/*/report/report.html")


@pytest.fixture(scope="session")
def study(root):
    return root / "tuning" / "study"


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """`serve(logs)`: the address of a TensorBoard of a folder, as the run's last lines start it."""
    started = []

    def start(logs: Path) -> str:
        out = tmp_path_factory.mktemp("tensorboard") / "output"
        program = Path(sys.executable).parent / "tensorboard"
        arguments = [program, "--logdir", logs, "--port", "0", "--load_fast", "false"]
        with out.open("w") as stream:
            started.append(subprocess.Popen(arguments, stdout=stream, stderr=stream))

        def address():
            assert started[-1].poll() is None, out.read_text()
            return re.search(r"http://localhost:\d+/", out.read_text())

        return wait_for(address, "TensorBoard says its address", 90)[0]

    yield start
    for process in started:
        process.kill()
        process.wait()
