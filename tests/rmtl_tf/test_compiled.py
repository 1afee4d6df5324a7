from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_MODULE = """
from rmtl_tf.compiled import compiled

@compiled
def double(x):
    return 2 * x
"""
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from doubled import double
print(double(21), sum(double.stats.cache_hits.values()))
"""


def _run(folder: Path, **environment: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    return [int(number) for number in done.stdout.split()]


def test_the_next_process_finds_the_machine_code(tmp_path):
    (tmp_path / "doubled.py").write_text(_MODULE)
    assert [_run(tmp_path), _run(tmp_path)] == [[42, 0], [42, 1]]


def test_without_any_place_for_a_cache_a_process_compiles_for_itself(tmp_path, monkeypatch):
    from numba.core.caching import CacheImpl

    from rmtl_tf.compiled import compiled

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    double = compiled(lambda x: 2 * x)
    assert double(21) == 42
