"""Variants are paired by seed with the first one; their settings come from the command line."""

from __future__ import annotations

from benchmarks.compare_settings import parse, report

PLACES = [(arm, split) for arm in ("pretrained", "control") for split in ("validation", "test")]


def results(**gains):
    """AUC 0.7 and 0.8 in two seeds for `base`, and that plus the gains (in 1e-4) for the other variants."""
    return {
        name: [dict.fromkeys(PLACES, auc + gain / 1e4) for auc, gain in zip((0.7, 0.8), own, strict=True)]
        for name, own in {"base": (0, 0), **gains}.items()
    }


def test_gains_are_paired_by_seed_so_that_a_seeds_own_level_cancels():
    lines = report(results(none=(-20, -40))).splitlines()
    assert len(lines) == 2 * len(PLACES)
    line = next(line for line in lines if line.startswith("control") and "test" in line and "none" in line)
    assert "mean AUC 0.7470" in line
    assert "gain   -30.0 +-  14.1" in line
    assert "p 0.205" in line  # t = -3 with one degree of freedom
    assert line.endswith("  -20.0   -40.0")


def test_the_base_has_no_gain_over_itself():
    assert "gain" not in report(results())


def test_a_variant_is_a_name_and_any_number_of_settings_and_the_first_is_the_base():
    given = ["--config", "shop.yaml", "--variant", "float32"]
    given += ["--variant", "bfloat16", "training.precision=mixed_bfloat16", "seed=3"]
    arguments = parse(given)
    assert arguments.variant == {
        "float32": [],
        "bfloat16": ["training.precision=mixed_bfloat16", "seed=3"],
    }
    assert next(iter(arguments.variant)) == "float32"
