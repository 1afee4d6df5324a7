"""Every arm of a configuration against the control, over several seeds, on test data.

    python benchmarks/compare_seeds.py --config configs/simulator.yaml --seeds 5

The data are prepared once; each seed trains all arms from one pretrained checkpoint. Differences are arm
minus control from the same checkpoint and seed, in 1e-4, with a two-sided paired t-test over seeds.
Nothing is chosen by these numbers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pipeline
from components.runner import run
from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json

METRICS = ("auc", "logloss", "s_logloss")


def artifacts(config: RunConfig) -> dict[str, Path]:
    """The outputs of a run up to the Evaluator; steps that a run of this root made before are reused."""
    steps = pipeline.create_pipeline(config)
    names = [step.name for step in steps]
    results = run(
        steps[: names.index("Evaluator") + 1], config.pipeline_root, name=f"{config.name}-seed{config.seed}"
    )
    return {key: path for result in results for key, path in result.outputs.items()}


def evaluate(config: RunConfig) -> dict:
    """evaluation.json of one seed."""
    return read_json(artifacts(config)["evaluation"] / "evaluation.json")


def paired(values) -> str:
    """Differences over seeds, in 1e-4: mean, standard deviation, p of the paired t-test, each seed."""
    from scipy.stats import ttest_1samp

    spread = values.std(ddof=1) if len(values) > 1 else float("nan")
    p = ttest_1samp(values, 0).pvalue if spread > 0 else float("nan")
    each = " ".join(f"{value:+7.1f}" for value in values)
    return f"{values.mean():+7.1f} +-{spread:6.1f}  p {p:5.3f}  {each}"


def report(evaluations: list[dict]) -> str:
    import numpy as np

    lines = []
    for arm in (name for name in evaluations[0]["arms"] if name != "control"):
        for scope in (*evaluations[0]["tasks"], "mean"):
            for metric in METRICS:
                values = np.array([e["difference"][arm][scope][metric]["value"] for e in evaluations]) * 1e4
                lines.append(f"{arm:<14}{scope:<12}{metric:<10}{paired(values)}")
    return "\n".join(lines)


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--config", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value")
    arguments = parser.parse_args()
    pipeline.set_up_logging(debug=False)
    try:
        configs = [
            load_config(arguments.config, [*arguments.set, f"seed={seed}"]) for seed in range(arguments.seeds)
        ]
        evaluations = [evaluate(config) for config in configs]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for arm in evaluations[0]["arms"]:
        areas = [
            sum(e["metrics"][arm][t]["auc"]["value"] for t in e["tasks"]) / len(e["tasks"])
            for e in evaluations
        ]
        print(f"{arm:<14}mean AUC {sum(areas) / len(areas):.4f}")
    print(
        "\narm minus control, 1e-4: mean +- standard deviation over seeds, p of the paired t-test, each seed"
    )
    print(report(evaluations))
    return 0


if __name__ == "__main__":
    sys.exit(main())
