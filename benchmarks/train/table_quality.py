"""What smaller tables cost: AUC and rows of full, capped, hashed, mixed and compressed tables.

    python benchmarks/train/table_quality.py --config configs/deskdrop.yaml --features person_id content_id

Each variant trains from scratch with constant weights alone (arm `control`); all but `full` have about as
many rows as --share of the full vocabularies' values, so that they compare at equal memory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import pipeline
from benchmarks.compare_seeds import artifacts
from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.errors import UserError
from rmtl_tf.features.compression import Layout
from rmtl_tf.files import read_json


def variants(sizes: dict[str, int], share: float) -> dict[str, list[str]]:
    """Name -> settings, for the features' vocabulary sizes."""
    found: dict[str, list[str]] = {name: [] for name in ("full", "cap", "hash", "mix", "product", "sum")}
    for feature, size in sizes.items():
        rows = max(4, round(size * share))
        table = f"transform.features.{feature}"
        ratio = next(r for r in range(2, size + 1) if Layout(size + 2, r).rows <= rows + 2 or r == size)
        found["cap"].append(f"{table}={{top_k: {rows}}}")
        found["hash"].append(f"{table}={{top_k: 0, hash_buckets: {rows}}}")
        found["mix"].append(f"{table}={{top_k: {rows // 2}, hash_buckets: {rows - rows // 2}}}")
        for operation in ("product", "sum"):
            found[operation] += [
                f"model.compression.operation={operation}",
                f"model.compression.features.{feature}={ratio}",
            ]
    return found


def measure(config: RunConfig) -> tuple[float, float, int, dict]:
    """Mean AUC of the tasks on validation and test, rows of all tables, collisions by feature."""
    made = artifacts(config)
    evaluation = read_json(made["evaluation"] / "evaluation.json")
    run = read_json(made["model_run"] / "run.json")
    arm = next(arm for arm in run["arms"] if arm["name"] == "control")
    test = [evaluation["metrics"]["control"][task]["auc"]["value"] for task in evaluation["tasks"]]
    collisions = made["transform_graph"] / "collisions.json"
    rows = sum(table["rows"] for table in run["memory"]["tables"])
    return (
        arm["validation"]["auc"],
        float(np.mean(test)),
        rows,
        read_json(collisions) if collisions.exists() else {},
    )


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--config", required=True)
    parser.add_argument("--features", nargs="+", required=True)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value")
    given = parser.parse_args()
    pipeline.set_up_logging(debug=False)
    alone = ["training.arms=[control]", "transform.min_count=1", *given.set]
    try:
        made = artifacts(load_config(given.config, [*alone, "seed=0"]))
        vocabulary = made["transform_graph"] / "vocabulary"
        sizes = {name: len((vocabulary / f"{name}.txt").read_bytes().splitlines()) for name in given.features}
        print(f"values: {sizes}; share {given.share}", flush=True)
        for name, settings in variants(sizes, given.share).items():
            found = [
                measure(load_config(given.config, [*alone, *settings, f"seed={seed}"]))
                for seed in range(given.seeds)
            ]
            areas = np.array([one[:2] for one in found])
            spread = areas.std(axis=0, ddof=1) if given.seeds > 1 else (0.0, 0.0)
            means = "  ".join(
                f"{split} {mean:.4f} +- {dev:.4f}"
                for split, mean, dev in zip(("validation", "test"), areas.mean(axis=0), spread, strict=True)
            )
            print(f"{name:<9}{found[0][2]:>8,} rows  {means}", flush=True)
            for feature, shared in found[0][3].items():
                print(
                    f"{'':<9}{feature}: {shared['sharing_values']:.1%} of hashed values share a bucket "
                    f"(chance: {shared['expected_sharing']:.1%}), {shared['sharing_of_all_records']:.1%} of "
                    "all records read one",
                    flush=True,
                )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
