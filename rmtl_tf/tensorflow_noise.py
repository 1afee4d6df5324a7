"""Keeps the console free of what TensorFlow's C++ side writes while it is imported.

On a machine without a GPU it tells so in eight lines that no log level suppresses: they are written
before its logging is set up. Only those lines are dropped; anything else is shown after the import.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# A line of absl's logging (severity, date), and its warning that it was not set up yet.
_NOISE = re.compile(rb"^(?:[IWE]\d{4} \d\d:\d\d:\d\d|WARNING: All log messages before absl::InitializeLog)")


def quiet_import(package: str, afterwards: Callable[[ModuleType], Any] | None = None) -> None:
    """From now on, the first import of `package` in this process writes no such lines.

    Args:
        package: top-level package.
        afterwards: called with the imported package, quietly too (what it sets up late).
    """
    if package not in sys.modules:
        sys.meta_path.insert(0, _Finder(package, afterwards))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, package: str, afterwards: Callable[[ModuleType], Any] | None) -> None:
        self._package = package
        self._afterwards = afterwards
        self._searching = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != self._package or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            self._wrap(spec.loader)
        return spec

    def _wrap(self, loader: Any) -> None:
        execute = loader.exec_module

        def quietly(module: ModuleType) -> None:
            # Not before: who only asks whether the package is there finds it here too.
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(self)
            with _without_noise():
                execute(module)
                if self._afterwards is not None:
                    self._afterwards(module)

        loader.exec_module = quietly


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Sends the standard error of the process to a file, and back without the noise at the end."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            aside.seek(0)
            os.write(2, b"".join(line for line in aside if not _NOISE.match(line)))
