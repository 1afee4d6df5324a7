"""What the state is worth, apart from the weighting: mean AUC without feedback, with it, and with a history.

    python benchmarks/compare_states.py --config configs/deskdrop.yaml --seeds 3

Each state trains from scratch with constant weights alone: `pretrained` after phase A and `control` after
phase C, so that no difference is a weighting's. Differences are paired over seeds, state minus `feedback`, in
1e-4, with a two-sided paired t-test. Validation is what a choice may be made by; test is what it is worth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import pipeline
from benchmarks.compare_seeds import artifacts, paired
from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json

BASE = "feedback"
STATES = {
    "none": ["data.feedback.enabled=false"],
    BASE: [],
    "feedback+mean": ["model.history.encoder=mean"],
    "feedback+gru": ["model.history.encoder=gru"],
    "feedback+attention": ["model.history.encoder=attention"],
}
ARMS = ("pretrained", "control")


def areas(config: RunConfig, names: Sequence[str] = ARMS) -> dict[tuple[str, str], float]:
    """(arm, split) -> mean AUC of the tasks, of the arms `names`."""
    made = artifacts(config)
    evaluation = read_json(made["evaluation"] / "evaluation.json")
    arms = {arm["name"]: arm for arm in read_json(made["model_run"] / "run.json")["arms"]}
    tasks = evaluation["tasks"]
    result = {}
    for arm in names:
        result[arm, "validation"] = arms[arm]["validation"]["auc"]
        test = [evaluation["metrics"][arm][task]["auc"]["value"] for task in tasks]
        result[arm, "test"] = sum(test) / len(test)
    return result


def report(
    results: dict[str, list[dict[tuple[str, str], float]]], base_name: str = BASE, names: Sequence[str] = ARMS
) -> str:
    """A line for each state, arm and split; gains are over the state `base_name`."""
    lines = []
    for arm in names:
        for split in ("validation", "test"):
            base = np.array([seed[arm, split] for seed in results[base_name]])
            for state, seeds in results.items():
                own = np.array([seed[arm, split] for seed in seeds])
                line = f"{arm:<12}{split:<12}{state:<20}mean AUC {own.mean():.4f}"
                if state != base_name:
                    line += f"  gain {paired((own - base) * 1e4)}"
                lines.append(line)
    return "\n".join(lines)


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--config", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value")
    arguments = parser.parse_args()
    pipeline.set_up_logging(debug=False)
    alone = ["training.arms=[control]", *arguments.set]
    results: dict[str, list[dict[tuple[str, str], float]]] = {state: [] for state in STATES}
    try:
        for seed in range(arguments.seeds):
            for state, settings in STATES.items():
                config = load_config(arguments.config, [*alone, *settings, f"seed={seed}"])
                results[state].append(areas(config))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
