from __future__ import annotations

from pathlib import Path

import pytest

from tests_java import maven

POM = Path(__file__).with_name("pom.xml")
MAVEN = """
echo called >> $CALLS
[ -z "$FAIL" ] || { echo "no such artifact"; exit 1; }
for option in "$@"; do case $option in -DoutputDirectory=*) folder=${option#*=};; esac; done
mkdir -p $folder
echo jar > $folder/a.jar
"""


@pytest.mark.parametrize(("present", "missing"), [((), "java"), (("java",), "mvn")])
def test_what_is_not_installed_is_named(tmp_path, monkeypatch, present, missing):
    for program in present:
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=f"^{missing} is not installed: the tests of jars need "):
        maven.fetch(POM, "jars")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A Maven that writes a jar, or fails if FAIL is set, and counts its calls."""
    for name, body in (("java", ""), ("mvn", MAVEN)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("RMTL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_jars_are_fetched_once(fake):
    finish = lambda folder: (folder / "more.jar").write_text("x")  # noqa: E731
    folder = maven.fetch(POM, "jars", finish)
    assert sorted(path.name for path in folder.iterdir()) == ["a.jar", "more.jar"]
    assert maven.fetch(POM, "jars", finish) == folder
    assert (fake / "calls").read_text() == "called\n"


def test_a_failed_fetch_leaves_nothing_and_quotes_maven(fake, monkeypatch):
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(RuntimeError, match="no such artifact"):
        maven.fetch(POM, "jars")
    assert not list((fake / "cache").glob("*"))
