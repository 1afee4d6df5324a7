"""Target networks: copies that follow softly, their embedding tables row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from rmtl_tf.optimizers.tables import before_read, is_table, plain, write_rows
from rmtl_tf.rl.mdp import soft_update

# Below, a pass over the table costs less than finding a batch's rows.
LAZY_FROM = 1 << 14
_CHUNK = 1 << 16


class Following:
    """target <- rate * online + (1 - rate) * target after every step (METHOD 3), at the cost of a batch.

    A row of the online table that n steps did not touch stands still, so its target is after them

        online + (1 - rate)^n (target - online)

    and that can wait until one of the two is next read, which is before a step can change the online row. The
    target's variable is behind until then: `settle` brings it up to date.

    Args:
        target, online: networks with the same weights in the same order, built.
        rate: beta (tau of DDPG and TD3).
        touched_rows_only: whether the online network's optimizer leaves rows that a batch did not read where
            they are; if not, tables follow as all other weights do.
        lazy_from: rows of a table that follows in this way.
    """

    def __init__(
        self,
        target: keras.layers.Layer,
        online: keras.layers.Layer,
        rate: float,
        touched_rows_only: bool = False,
        lazy_from: int = LAZY_FROM,
    ) -> None:
        self.rate = rate
        self.steps = tf.Variable(0, trainable=False, name="followed_steps")
        self._pairs: list[tuple[Any, Any]] = []
        self._tables: list[_FollowingTable] = []
        self._releases: list[Callable[[], None]] = []
        # `weights` leaves the dropout seeds out: they are no part of what a network answers.
        for old, new in zip(target.weights, online.weights, strict=True):
            # Replicas read different rows, and each would bring those it reads up to date.
            lazy = touched_rows_only and not tf.distribute.has_strategy()
            if not (lazy and is_table(new) and new.shape[0] >= lazy_from):
                self._pairs.append((old, new))
                continue
            table = _FollowingTable(plain(old), plain(new), rate, self.steps)
            self._tables.append(table)
            self._releases += [before_read(variable, table.follow) for variable in (old, new)]
        self.copy()

    @property
    def variables(self) -> list[Any]:
        """What is needed beside the weights to go on from a checkpoint."""
        return [self.steps, *(table.last for table in self._tables)] if self._tables else []

    def copy(self) -> None:
        """target <- online, all of it."""
        soft_update(*self._dense(), 1.0)
        for table in self._tables:
            table.target.assign(table.online)
            table.last.assign(tf.fill(table.last.shape, self.steps))

    def update(self) -> None:
        """One step, after the online network's."""
        soft_update(*self._dense(), self.rate)
        self.steps.assign_add(1)

    def settle(self) -> None:
        """Brings the target's tables up to date."""
        for table in self._tables:
            rows = table.target.shape[0]
            follow = tf.function(table.follow, reduce_retracing=True)
            for start in range(0, rows, _CHUNK):
                follow(tf.range(start, min(start + _CHUNK, rows)))

    def release(self) -> None:
        """Lets go of the networks: reading the online tables costs nothing more."""
        for release in self._releases:
            release()

    def _dense(self) -> tuple[list[Any], list[Any]]:
        return [old for old, _ in self._pairs], [new for _, new in self._pairs]


class _FollowingTable:
    """A pair of tables [R, D]; `last` [R] is the step to which a row of the target was brought."""

    def __init__(self, target: tf.Variable, online: tf.Variable, rate: float, steps: tf.Variable) -> None:
        self.target, self.online, self.keep, self.steps = target, online, 1.0 - rate, steps
        self.last = tf.Variable(tf.zeros(target.shape[0], tf.int32), trainable=False, name="followed_last")

    def follow(self, rows: tf.Tensor) -> None:
        """Brings rows [U] of the target up to date."""
        now = tf.convert_to_tensor(self.steps)
        rows = tf.boolean_mask(rows, tf.gather(self.last, rows) < now)
        skipped = tf.cast(now - tf.gather(self.last, rows), self.target.dtype)
        share = 1.0 - tf.pow(tf.cast(self.keep, self.target.dtype), skipped)[:, tf.newaxis]
        old, new = tf.gather(self.target, rows), tf.gather(self.online, rows)
        write_rows(self.target, rows, old + share * (new - old))
        write_rows(self.last, rows, tf.fill(tf.shape(rows), now))
