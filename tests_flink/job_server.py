"""Beam's Flink job server as one jar, fetched with Maven into a cache outside the checkout.

The published `beam-runners-flink-<flink>-job-server` is the library `beam-runners-flink-<flink>` with its
dependencies in one file. Maven fetches the library; a small jar then names all files in its `Class-Path`.
That jar is what `flink_job_server_jar` takes:

    python -m tests_flink.job_server        prints where it is
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
JAR = "job-server.jar"
_MAIN = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_LINE = 70  # bytes of a manifest line; what is longer goes on after a blank


def fetch() -> Path:
    """The jar, fetched if it is not in the cache (`$RMTL_CACHE`, else ~/.cache/rmtl-tf).

    Raises:
        RuntimeError: Java or Maven is not installed, or Maven failed.
    """
    for program, package in (("java", "a Java 17 runtime"), ("mvn", "Maven")):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is not installed: the Flink tests need {package}.")
    cache = Path(os.environ.get("RMTL_CACHE") or Path.home() / ".cache" / "rmtl-tf")
    directory = cache / f"beam-flink-{sha256(POM.read_bytes()).hexdigest()[:12]}"
    if not directory.is_dir():
        aside = directory.with_name(f".{directory.name}.{os.getpid()}")
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={aside}"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Maven could not fetch Beam's Flink job server:\n{done.stdout}{done.stderr}")
        _write_jar(aside)
        aside.rename(directory)
    return directory / JAR


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
