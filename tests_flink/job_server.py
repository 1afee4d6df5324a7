"""Beam's Flink job server as one jar, fetched with Maven into a cache outside the checkout.

The published `beam-runners-flink-<flink>-job-server` is the library `beam-runners-flink-<flink>` with its
dependencies in one file. Maven fetches the library; a small jar then names all files in its `Class-Path`.
That jar is what `flink_job_server_jar` takes:

    python -m tests_flink.job_server        prints where it is
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from tests_java import maven

POM = Path(__file__).with_name("pom.xml")
JAR = "job-server.jar"
_MAIN = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_LINE = 70  # bytes of a manifest line; what is longer goes on after a blank


def fetch() -> Path:
    """The jar, fetched if it is not in the cache.

    Raises:
        RuntimeError: Java or Maven is not installed, or Maven failed.
    """
    return maven.fetch(POM, "beam-flink", _write_jar) / JAR


def _write_jar(directory: Path) -> None:
    names = sorted(path.name for path in directory.glob("*.jar"))
    text = f"Class-Path: {' '.join(names)}"
    lines = [text[:_LINE], *(f" {text[at : at + _LINE - 1]}" for at in range(_LINE, len(text), _LINE - 1))]
    manifest = "\r\n".join(["Manifest-Version: 1.0", f"Main-Class: {_MAIN}", *lines, "", ""])
    with zipfile.ZipFile(directory / JAR, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", manifest)
        jar.writestr("simplelogger.properties", "org.slf4j.simpleLogger.defaultLogLevel=warn\n")


if __name__ == "__main__":
    sys.stdout.write(f"{fetch()}\n")
