"""Jars, fetched with Maven once into a cache outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path


def cache() -> Path:
    """`$RMTL_CACHE`, else ~/.cache/rmtl-tf."""
    return Path(os.environ.get("RMTL_CACHE") or Path.home() / ".cache" / "rmtl-tf")


def fetch(pom: Path, name: str, finish: Callable[[Path], None] = lambda folder: None) -> Path:
    """The folder with the jars that `pom` depends on, fetched if it is not in the cache.

    Args:
        name: begins the folder's name.
        finish: adds to a new folder before it is in the cache.

    Raises:
        RuntimeError: Java or Maven is not installed, or Maven failed.
    """
    for program, package in (("java", "a Java 17 runtime"), ("mvn", "Maven")):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is not installed: the tests of {name} need {package}.")
    directory = cache() / f"{name}-{sha256(pom.read_bytes()).hexdigest()[:12]}"
    if not directory.is_dir():
        aside = directory.with_name(f".{directory.name}.{os.getpid()}")
        command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={aside}"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Maven could not fetch {name}:\n{done.stdout}{done.stderr}")
        finish(aside)
        aside.rename(directory)
    return directory
