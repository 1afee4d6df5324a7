"""`make bench-serving`: milliseconds of a request at the paper's size, in docs/performance-serving.md.

Every part is saved when it is done; the page is written from what is saved, so parts may be measured at
different times: `python -m benchmarks.serving --only torch --backbones mmoe`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.document import machine, rewrite
from benchmarks.serving.measure import PARTS, ROOT, busy
from benchmarks.serving.models import export_model, make_graph
from benchmarks.serving.page import report
from rmtl_tf.config import ModelConfig

PAGE = ROOT / "docs" / "performance-serving.md"
RESULTS = ROOT / "runs" / "bench-serving.json"
BACKBONES = ("shared_bottom", "mmoe")


def measure(model: ModelConfig, parts: Sequence[str], repeats: int) -> dict[str, Any]:
    """{part: what it found, and where} of one backbone."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        backbone = export_model(folder, model, make_graph(), seed=0)
        for part in parts:
            answer = PARTS[part](folder, backbone, repeats)
            found[part] = {**answer, "machine": machine(), "repeats": repeats, "load": busy()}
    return found


def add(results: Path, backbone: str, found: dict[str, Any]) -> dict[str, Any]:
    """Saves what was found beside what other parts found before; returns everything."""
    known = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    known.setdefault(backbone, {}).update(found)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=500, help="calls for each figure (default: 500)")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, metavar="NAME")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--results", type=Path, default=RESULTS, help="where what was measured is kept")
    given = parser.parse_args()
    known: dict[str, Any] = {}
    for name in given.backbones:
        known = add(
            given.results, name, measure(ModelConfig(backbone=name), given.only or list(PARTS), given.repeats)
        )
    content = report(known)
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), "serving", content), encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()
