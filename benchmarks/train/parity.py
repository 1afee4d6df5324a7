"""Whether peers compute what ours computes, given the same weights: checked before anything is timed."""

from __future__ import annotations

import numpy as np

from benchmarks.train.setting import Setting
from benchmarks.train.worker import Worker

TOLERANCE = 1e-5
_SPREAD = 0.5  # of the weights: initial ones give logits near 0, and biases of 0 hide what is left out


def check_parity(ours: Worker, peer: Worker, setting: Setting) -> float:
    """Gives both the same random weights and compares logits and loss; returns the largest difference.

    Raises:
        AssertionError: they differ by more than 1e-5, relative to the largest logit where that is above 1.
    """
    ours.make(setting)
    peer.make(setting)
    peer.set_weights(ours.weights(_SPREAD))
    ids, labels = (values[0] for values in setting.records())
    expected, received = (worker.logits(ids) for worker in (ours, peer))
    scale = max(1.0, float(np.abs(expected).max()))
    losses = [worker.loss(ids, labels) for worker in (ours, peer)]
    difference = max(float(np.abs(expected - received).max()), abs(losses[0] - losses[1])) / scale
    if not difference <= TOLERANCE:
        raise AssertionError(
            f"{setting.backbone}: {peer.name} differs from ours by {difference:.2g} with the same weights, "
            f"more than {TOLERANCE:g}; losses {losses}."
        )
    if expected.std() < 0.01:
        raise AssertionError(f"{setting.backbone}: logits are all alike, so that parity would say nothing.")
    return difference


def small(setting: Setting) -> Setting:
    """The same architecture on few, narrow records."""
    sizes = {"rows": 50, "width": 8, "bottom": (12, 10), "tower": (6, 5), "batch": 64, "batches": 2}
    return setting.having(**sizes, relation=(5,), experts=3, shared_experts=2, task_experts=2)
