"""What the rule of the embedding tables does to AUC: every rule against dense Adam, over several seeds.

    python benchmarks/compare_optimizers.py --config configs/simulator.yaml --seeds 5

`pretrained` after phase A, `control` and `paper` after phase C; the latter also shows what a critic learnt
under the rule is worth. Differences are paired over seeds, rule minus dense Adam, in 1e-4, with a two-sided
paired t-test. Validation is what a choice may be made by; test is what it is worth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pipeline
from benchmarks.compare_states import areas, report
from rmtl_tf.config import load_config
from rmtl_tf.errors import UserError

BASE = "dense"
# Adagrad and FTRL know no scale of the gradient: at Adam's rate their tables would hardly move.
RATE = "training.optimizer.table_learning_rate=0.05"
RULES = {
    BASE: [],
    "adam": [],
    "adam_lazy": [],
    "adagrad": [RATE],
    "adagrad_rowwise": [RATE],
    "ftrl": [RATE],
}
ARMS = ("pretrained", "control", "paper")


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--config", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value")
    arguments = parser.parse_args()
    pipeline.set_up_logging(debug=False)
    rules = [BASE, *(rule for rule in arguments.rules if rule != BASE)]
    arms = f"training.arms=[{','.join(ARMS[1:])}]"
    results: dict[str, list[dict[tuple[str, str], float]]] = {rule: [] for rule in rules}
    try:
        for seed in range(arguments.seeds):
            for rule in rules:
                own = [f"training.optimizer.tables={rule}", *RULES[rule], f"seed={seed}"]
                config = load_config(arguments.config, [arms, *arguments.set, *own])
                results[rule].append(areas(config, ARMS))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(results, BASE, ARMS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
