"""The table of states pairs seeds; the configurations of the states can be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compare_states import ARMS, BASE, STATES, report
from rmtl_tf.config import load_config

ROOT = Path(__file__).resolve().parents[2]


def results(**gains):
    """AUC 0.7 and 0.8 in two seeds for the base, and that plus the gains (in 1e-4) for the other states."""
    made = {}
    for state, own in {BASE: (0, 0), **gains}.items():
        aucs = (0.7 + own[0] / 1e4, 0.8 + own[1] / 1e4)
        made[state] = [
            {(arm, split): auc for arm in ARMS for split in ("validation", "test")} for auc in aucs
        ]
    return made


def test_gains_are_paired_by_seed_so_that_a_seeds_own_level_cancels():
    lines = report(results(none=(-20, -40))).splitlines()
    assert len(lines) == 2 * 2 * 2
    line = next(line for line in lines if line.startswith("control") and "test" in line and "none" in line)
    assert "mean AUC 0.7470" in line
    assert "gain   -30.0 +-  14.1" in line
    assert "p 0.205" in line  # t = -3 with one degree of freedom
    assert line.endswith("  -20.0   -40.0")


def test_the_base_has_no_gain_over_itself():
    assert "gain" not in report(results())


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_a_configuration(state):
    config = load_config(ROOT / "configs" / "deskdrop.yaml", STATES[state])
    assert config.data.feedback.enabled == (state != "none")
    assert config.model.history.encoder == (state.partition("+")[2] or "none")
