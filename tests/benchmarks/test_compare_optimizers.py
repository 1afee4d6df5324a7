"""Every rule of the comparison is a configuration; gains are over dense Adam."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compare_optimizers import ARMS, BASE, RULES
from benchmarks.compare_states import report
from rmtl_tf.config import load_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_a_configuration(rule):
    settings = [f"training.optimizer.tables={rule}", *RULES[rule]]
    optimizer = load_config(ROOT / "configs" / "simulator.yaml", settings).training.optimizer
    assert optimizer.tables == rule
    assert (optimizer.table_learning_rate is None) == ("adam" in rule or rule == BASE)


def test_gains_are_over_dense_adam_for_every_arm():
    seeds = {
        rule: [
            {(arm, split): auc + gain for arm in ARMS for split in ("validation", "test")}
            for auc in (0.7, 0.8)
        ]
        for rule, gain in ((BASE, 0.0), ("adam_lazy", -0.001))
    }
    lines = report(seeds, BASE, ARMS).splitlines()
    assert len(lines) == 2 * 2 * len(ARMS)
    assert sum("gain   -10.0" in line for line in lines) == 2 * len(ARMS)
    assert sum(line.startswith("paper") for line in lines) == 4
