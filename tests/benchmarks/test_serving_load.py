"""A short load: every version that is pushed comes to serve, and no request fails meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.serving.load import Result, load
from benchmarks.serving.models import export_model, make_graph, make_rows
from rmtl_tf.config import ModelConfig

SMALL = ModelConfig(backbone="shared_bottom", embedding_dim=4, bottom=(8,), tower=(4,))


def test_no_request_fails_while_versions_are_pushed(tmp_path: Path) -> None:
    graph = make_graph(rows=20)
    models = [tmp_path / f"seed{seed}" for seed in range(3)]
    for seed, path in enumerate(models):
        export_model(path, SMALL, graph, seed)
    result = load(tmp_path / "shop", models, 8, make_rows(2, rows=20))
    assert result.failures == []
    assert len(result.milliseconds) > 100
    assert {1, 2, 3} <= result.versions
    assert len(result.memory) > 5


def test_growth_compares_the_last_fifth_with_the_second() -> None:
    steady = Result(memory=[100.0, 200.0, 200.0, 200.0, 200.0])
    assert steady.growth() == 0.0
    assert Result(memory=[*[100.0] * 8, 150.0, 150.0]).growth() == pytest.approx(0.5)
