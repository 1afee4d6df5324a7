"""What a setting does to AUC: variants of one configuration, over several seeds.

    python benchmarks/compare_settings.py --config configs/deskdrop.yaml --seeds 5 \\
        --variant float32 --variant bfloat16 training.precision=mixed_bfloat16

The first variant is the base. Differences are paired over seeds, variant minus base, in 1e-4, with a
two-sided paired t-test. `pretrained` is the model after phase A, the others are arms after phase C.
Validation is what a choice may be made by; test is what it is worth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import pipeline
from benchmarks.compare_seeds import artifacts, paired
from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json

PRETRAINED = "pretrained"
Areas = dict[tuple[str, str], float]


def areas(config: RunConfig) -> Areas:
    """(arm, split) -> mean AUC of the tasks, of the pretrained model and every arm."""
    made = artifacts(config)
    evaluation = read_json(made["evaluation"] / "evaluation.json")
    arms = {arm["name"]: arm for arm in read_json(made["model_run"] / "run.json")["arms"]}
    result = {}
    for arm in (PRETRAINED, *(own.name for own in config.training.arms)):
        result[arm, "validation"] = arms[arm]["validation"]["auc"]
        test = [evaluation["metrics"][arm][task]["auc"]["value"] for task in evaluation["tasks"]]
        result[arm, "test"] = sum(test) / len(test)
    return result


def report(results: Mapping[str, Sequence[Areas]]) -> str:
    """A line for each arm, split and variant, from {variant: one result a seed}; the first is the base."""
    base = next(iter(results))
    lines = []
    for place in results[base][0]:
        bases = np.array([seed[place] for seed in results[base]])
        for variant, seeds in results.items():
            own = np.array([seed[place] for seed in seeds])
            line = f"{place[0]:<14}{place[1]:<12}{variant:<20}mean AUC {own.mean():.4f}"
            lines.append(line if variant == base else f"{line}  gain {paired((own - bases) * 1e4)}")
    return "\n".join(lines)


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `variant` becomes {name: settings}."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--config", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", nargs="+", default=["control"], help="that are trained (default: control)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", help="in all")
    parser.add_argument(
        "--variant",
        nargs="+",
        action="append",
        required=True,
        metavar=("NAME", "a.b=value"),
        help="repeat it",
    )
    arguments = parser.parse_args(given)
    arguments.variant = {name: settings for name, *settings in arguments.variant}
    return arguments


def main() -> int:
    arguments = parse()
    pipeline.set_up_logging(debug=False)
    common = [f"training.arms=[{','.join(arguments.arms)}]", *arguments.set]
    results: dict[str, list[Areas]] = {name: [] for name in arguments.variant}
    try:
        for seed in range(arguments.seeds):
            for name, settings in arguments.variant.items():
                config = load_config(arguments.config, [*common, *settings, f"seed={seed}"])
                results[name].append(areas(config))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
