"""Distances of two distributions given as counts [V] over the same values."""

from __future__ import annotations

import numpy as np


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts [V] as shares that sum to 1.

    Raises:
        ValueError: there is nothing to count.
    """
    total = counts.sum()
    if not total > 0:
        raise ValueError(f"expected counts with a sum above 0, received {total}")
    return counts / total


def gaps(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """|p - q| of every value [V]; the largest is the L-infinity distance, `infinity_norm` in a schema."""
    return np.abs(shares(before) - shares(after))


def jensen_shannon(before: np.ndarray, after: np.ndarray) -> float:
    """KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2, in bits, 0 to 1 (Lin 1991)."""
    p, q = shares(before), shares(after)
    m = (p + q) / 2
    divergence = (_information(p, m) + _information(q, m)) / 2
    return min(max(divergence, 0.0), 1.0)


def _information(p: np.ndarray, m: np.ndarray) -> float:
    there = p > 0
    return float((p[there] * np.log2(p[there] / m[there])).sum())
