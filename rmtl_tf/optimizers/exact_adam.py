"""Adam on the touched rows of a table with the result of Adam on all of them."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from rmtl_tf.optimizers.rules import Hyper, Rule, Slot, adam_kernel, decayed
from rmtl_tf.optimizers.skipped_adam import SkippedAdam
from rmtl_tf.optimizers.slices import SummedSlices
from rmtl_tf.optimizers.tables import staged, write_rows


class ExactAdam(Rule):
    """Dense Adam, weight decay included, in steps that cost what the touched rows cost.

    A row keeps the number of the step it was brought to. When it is next read or touched, the steps that
    skipped it are applied at once (`SkippedAdam`), so forward passes see what they would see under dense Adam
    (to rounding). `catch_up` of all rows is needed before the table is read otherwise: evaluated by a model
    without `read_rows`, copied, saved.
    """

    SLOTS: ClassVar[dict[str, Slot]] = {
        "momentum": Slot("element"),
        "velocity": Slot("element"),
        "last": Slot("row", dtype="int32"),
    }
    MOVES_UNTOUCHED: ClassVar[bool] = True

    def __init__(self, hyper: Hyper) -> None:
        super().__init__(hyper)
        self.skipped = SkippedAdam(
            hyper.learning_rate, hyper.weight_decay, hyper.beta_1, hyper.beta_2, hyper.epsilon
        )

    def catch_up(
        self, table: tf.Variable, slots: dict[str, tf.Variable], iterations: Any, rows: tf.Tensor
    ) -> None:
        """Brings `rows` [U] of table and slots to step `iterations`, scalar."""
        now = tf.cast(iterations, tf.int32)
        rows = tf.boolean_mask(rows, tf.gather(slots["last"], rows) < now)
        variables = (table, slots["momentum"], slots["velocity"])
        w, m, v = (tf.gather(variable, rows) for variable in variables)
        new = self.skipped(w, m, v, tf.gather(slots["last"], rows), now)
        for variable, values in zip(variables, new, strict=True):
            write_rows(variable, rows, values)
        write_rows(slots["last"], rows, tf.fill(tf.shape(rows), now))

    def step(
        self,
        table: tf.Variable,
        slots: dict[str, tf.Variable],
        gradient: SummedSlices,
        learning_rate: Any,
        iterations: Any,
    ) -> None:
        rows = gradient.indices
        self.catch_up(table, slots, iterations, rows)
        kernel = adam_kernel(gradient.values, learning_rate, iterations, self.hyper)
        variables = [table, slots["momentum"], slots["velocity"]]
        staged(variables, rows, kernel, decayed(learning_rate, self.hyper))
        write_rows(slots["last"], rows, tf.fill(tf.shape(rows), tf.cast(iterations + 1, tf.int32)))
