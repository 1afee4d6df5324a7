"""Quiet imports, on a stand-in package that writes to the standard error as TensorFlow does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = r"""
import os, sys
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n")
os.write(2, b"I0000 00:00:1795405266.958663   24925 port.cc:153] oneDNN custom operations are on.\n")
print("something that matters", file=sys.stderr)
def late():
    os.write(2, b"E0000 00:00:1795405271.801501   24925 cuda_platform.cc:52] failed call to cuInit\n")
"""


def run(folder: Path, code: str, package: str = PACKAGE) -> subprocess.CompletedProcess[str]:
    (folder / "noisy").mkdir()
    (folder / "noisy" / "__init__.py").write_text(package)
    (folder / "noisy" / "inner.py").write_text("x = 1")
    path = f"import os, sys; sys.path[:0] = [{str(folder)!r}, {str(REPOSITORY)!r}];"
    script = f"{path} from rmtl_tf.tensorflow_noise import quiet_import; {code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_noise_of_the_import_is_dropped_and_everything_else_shown(tmp_path: Path) -> None:
    done = run(
        tmp_path, "quiet_import('noisy'); import noisy.inner; print(noisy.inner.x, bool(noisy.__file__))"
    )
    assert done.stderr == "something that matters\n"
    assert done.stdout == "1 True\n"


def test_what_the_package_sets_up_late_is_quiet_too(tmp_path: Path) -> None:
    done = run(tmp_path, "quiet_import('noisy', lambda package: package.late()); import noisy")
    assert done.stderr == "something that matters\n"


def test_standard_error_is_restored_after_the_import(tmp_path: Path) -> None:
    done = run(tmp_path, "quiet_import('noisy'); import noisy; noisy.late(); print('after', file=sys.stderr)")
    lines = done.stderr.splitlines()
    assert lines[0] == "something that matters"
    assert "failed call to cuInit" in lines[1]
    assert lines[2] == "after"


def test_failing_import_shows_what_it_wrote_and_raises(tmp_path: Path) -> None:
    done = run(tmp_path, "quiet_import('noisy'); import noisy", PACKAGE + "raise ImportError('no library')")
    assert done.returncode == 1
    assert "something that matters" in done.stderr
    assert "ImportError: no library" in done.stderr


@pytest.mark.parametrize("first", ["import noisy; quiet_import('noisy')", "quiet_import('absent')"])
def test_other_imports_are_left_alone(tmp_path: Path, first: str) -> None:
    assert "oneDNN" in run(tmp_path, f"{first}; import noisy").stderr


def test_missing_package_is_missing_as_ever(tmp_path: Path) -> None:
    assert "No module named 'absent'" in run(tmp_path, "quiet_import('absent'); import absent").stderr


def test_who_only_asks_whether_the_package_is_there_does_not_end_the_quiet(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "quiet_import('noisy'); import importlib.util; importlib.util.find_spec('noisy'); import noisy",
    )
    assert done.stderr == "something that matters\n"
