"""The rules in numpy, float64, on dense gradients; and random row-sparse gradients with duplicates."""

from __future__ import annotations

import numpy as np

ROWS, WIDTH = 40, 4
RATE, DECAY, EPSILON, B1, B2 = 1e-2, 0.05, 1e-7, 0.9, 0.999


def gradients(steps, seed=0, batch=7, scale=1.0):
    """(rows [batch], values [batch, WIDTH]) a step; some rows twice, some rows rarely or never."""
    random = np.random.default_rng(seed)
    for step in range(steps):
        rows = random.integers(0, ROWS if step % 20 == 0 else 12, batch).astype(np.int32)
        rows[-1] = rows[0]
        values = random.normal(size=(batch, WIDTH)) * scale * 10.0 ** random.integers(-6, 1, (batch, 1))
        yield rows, values.astype(np.float32)


def dense(rows, values):
    """The gradient [ROWS, WIDTH]."""
    full = np.zeros((ROWS, WIDTH))
    np.add.at(full, rows, values)
    return full


class Table:
    """A table and the state of its rule; `step(rows, gradient)` moves the touched rows."""

    def __init__(self, table, decay=DECAY):
        self.w, self.t, self.decay = table.astype(np.float64), 0, decay
        self.m, self.v = np.zeros_like(self.w), np.zeros_like(self.w)
        self.a = np.full_like(self.w, 0.1)
        self.n = np.zeros(len(self.w))
        self.z = -self.w * np.sqrt(0.1) / RATE

    def adam(self, rows, full, touched=slice(None)):
        self.t += 1
        g = full[touched]
        self.w[touched] -= self.w[touched] * self.decay * RATE
        self.m[touched] = B1 * self.m[touched] + (1 - B1) * g
        self.v[touched] = B2 * self.v[touched] + (1 - B2) * g**2
        size = RATE * np.sqrt(1 - B2**self.t) / (1 - B1**self.t)
        self.w[touched] -= size * self.m[touched] / (np.sqrt(self.v[touched]) + EPSILON)

    def adam_lazy(self, rows, full):
        self.adam(rows, full, np.unique(rows))

    def adagrad(self, rows, full):
        for row in np.unique(rows):
            self.w[row] -= self.w[row] * self.decay * RATE
            self.a[row] += full[row] ** 2
            self.w[row] -= RATE * full[row] / (np.sqrt(self.a[row]) + EPSILON)

    def adagrad_rowwise(self, rows, full):
        for row in np.unique(rows):
            self.w[row] -= self.w[row] * self.decay * RATE
            self.n[row] += np.mean(full[row] ** 2)
            self.w[row] -= RATE * full[row] / (np.sqrt(self.n[row]) + EPSILON)

    def ftrl(self, rows, full):
        for row in np.unique(rows):
            g, before = full[row], self.a[row].copy()
            self.a[row] += g**2
            shrunk = g + self.decay * self.w[row]
            self.z[row] += shrunk - (np.sqrt(self.a[row]) - np.sqrt(before)) / RATE * self.w[row]
            self.w[row] = -RATE * self.z[row] / np.sqrt(self.a[row])
