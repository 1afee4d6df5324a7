"""How fast training is, beside what a user would pick instead: make bench.

Every comparison is measured in rounds that take turns, so that another program slows all alike; figures are
medians over rounds, with the smallest and largest. Results go into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.document import busy, machine, rewrite
from benchmarks.train.bench import Bench
from benchmarks.train.phases import input_section, loop_section, weights_section
from benchmarks.train.scaling import experts_section, tables_section
from benchmarks.train.steps import keras_section, torch_section
from benchmarks.train.whole_run import run_section
from benchmarks.train.worker import ROOT, TORCH_PYTHON

PAGE = ROOT / "docs" / "performance.md"
SECTIONS: dict[str, Callable[[Bench], str]] = {
    "torch": torch_section,
    "keras": keras_section,
    "tables": tables_section,
    "experts": experts_section,
    "loop": loop_section,
    "weights": weights_section,
    "input": input_section,
    "run": run_section,
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    if not given.no_torch and not TORCH_PYTHON.exists():
        print(
            "expected PyTorch in .venv-torch: make bench installs it, --no-torch leaves it out",
            file=sys.stderr,
        )
        return 2
    names = [name for name in given.only or SECTIONS if not given.no_torch or name != "torch"]
    with Bench(given.rounds, given.quick, torch=not given.no_torch) as bench:
        measure(bench, names, given.page)
    return 0


def measure(bench: Bench, names: Sequence[str], page: Path | None) -> None:
    """Prints the parts and, where `page` is given, writes each into its section as soon as it is there."""
    began = time.perf_counter()
    for name in names:
        load = os.getloadavg()[0]
        content = SECTIONS[name](bench)
        bench.free()
        print(f"## {name}\n\n{content}\n\n({time.perf_counter() - began:.0f} s so far)\n", flush=True)
        if page is not None:
            page.write_text(rewrite(page.read_text(), name, f"{machine()}{busy(load)}\n\n{content}"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.train", description=__doc__, formatter_class=form)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="PART", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=7, help="rounds of every comparison (default 7)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, one round, nothing written: does it run?"
    )
    parser.add_argument("--no-torch", action="store_true", help="without the peer in PyTorch")
    parser.add_argument(
        "--page", type=Path, default=PAGE, help="where the tables go (default docs/performance.md)"
    )
    given = parser.parse_args(arguments)
    if given.quick:
        given.rounds, given.page = 1, None
    return given


if __name__ == "__main__":
    sys.exit(main())
