"""One optimizer for a network with embedding tables: a row-sparse rule for these, Adam for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from rmtl_tf.optimizers.exact_adam import ExactAdam
from rmtl_tf.optimizers.rules import (
    LEAST_SHARE,
    Adagrad,
    Ftrl,
    Hyper,
    LazyAdam,
    RowwiseAdagrad,
    Rule,
    adam_kernel,
)
from rmtl_tf.optimizers.slices import map_values, sum_duplicates, summed
from rmtl_tf.optimizers.tables import before_read, is_table, plain

RULES: dict[str, type[Rule]] = {
    "adam": ExactAdam,
    "adam_lazy": LazyAdam,
    "adagrad": Adagrad,
    "adagrad_rowwise": RowwiseAdagrad,
    "ftrl": Ftrl,
}
DENSE = "dense"

_CHUNK = 1 << 16  # rows brought up to date at once


@keras.saving.register_keras_serializable(package="rmtl_tf")
class TableOptimizer(keras.optimizers.Optimizer):
    """Adam, but for embedding tables, whose steps cost what the rows of the batch cost.

    A table is a matrix whose variable is named "table" or "embeddings". The gradient's rows of one index are
    summed before norms are taken and rules applied. Weight decay is decoupled (Loshchilov, Hutter, ICLR 2019)
    and, of tables, reaches the touched rows alone, except with `adam`; `Ftrl` says what it is there.

    Args:
        learning_rate: of Adam; a number, or a schedule unless `tables` is "adam".
        tables: "adam" (the result of dense Adam), "adam_lazy", "adagrad", "adagrad_rowwise" or "ftrl", see
            `rmtl_tf.optimizers.rules`; "dense": Adam on every row at every step.
        table_learning_rate: of the tables; default `learning_rate`.
        weight_decay: default None.
        clipnorm, global_clipnorm, clipvalue: largest norm of each variable's gradient, of all gradients, size
            of each element; at most one of them. Of a table, after rows were summed.

    Raises:
        ValueError: `tables` is none of these, or "adam" with a learning rate that changes; an average of
            weights or an accumulation of gradients is asked for, which cost whole tables.

    Example:
        optimizer = TableOptimizer(1e-3, tables="adam_lazy")
        optimizer.build(model.trainable_variables)
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        tables: str = "adam_lazy",
        table_learning_rate: float | None = None,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "table_optimizer",
        **kwargs: Any,
    ) -> None:
        if tables not in (*RULES, DENSE):
            raise ValueError(f"`tables` must be one of {[*RULES, DENSE]}. Received: {tables!r}")
        for unsupported in ("use_ema", "gradient_accumulation_steps"):
            if kwargs.get(unsupported):
                raise ValueError(
                    f"`{unsupported}` costs whole tables at every step, which this optimizer avoids. "
                    "Leave it out, or use keras.optimizers.Adam."
                )
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.tables, self.table_learning_rate = tables, table_learning_rate
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self._rule = self._make_rule(learning_rate)

    def _make_rule(self, learning_rate: Any) -> Rule | None:
        if self.tables == DENSE:
            return None
        rate = learning_rate if self.table_learning_rate is None else self.table_learning_rate
        kind = RULES[self.tables]
        if kind.MOVES_UNTOUCHED and not isinstance(rate, int | float):
            raise ValueError(
                f"`tables` = {self.tables!r} needs a constant learning rate: the steps that skip a row are "
                f"applied later, at once. Received: {rate!r}. Choose adam_lazy, or a number."
            )
        number = float(rate) if isinstance(rate, int | float) else 0.0  # the other rules are given it by step
        return kind(Hyper(number, self.weight_decay or 0.0, self.beta_1, self.beta_2, self.epsilon))

    @property
    def learning_rate(self) -> Any:
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(getattr(self, "_rule", None), ExactAdam):  # not yet there while Keras sets it first
            raise ValueError(
                f"`tables` = {self.tables!r} needs a constant learning rate, as steps that skip a row are "
                f"applied later, at once. Received: {value!r}. Choose adam_lazy."
            )
        keras.optimizers.Optimizer.learning_rate.fset(self, value)

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the slots of `variables`; with `adam`, rows are brought up to date before `read_rows` reads
        them from now on."""
        if self.built:
            return
        super().build(list(variables))
        # As tf.Variables, here: inside a layer's call Keras would give them cast to the layer's precision.
        self._slots = [
            {name: plain(slot) for name, slot in self._make_slots(variable).items()} for variable in variables
        ]
        self._plain = [plain(variable) for variable in variables]
        for variable, catch_up in self._waiting():
            before_read(variable, catch_up)

    def _rule_of(self, variable: Any) -> Rule | None:
        return self._rule if is_table(variable) else None

    def _make_slots(self, variable: Any) -> dict[str, Any]:
        rule = self._rule_of(variable)
        if rule is None:
            made = self.add_optimizer_variables([variable], ["momentum", "velocity"])
            return {"momentum": made[0][0], "velocity": made[1][0]}
        shapes = {"element": tuple(variable.shape), "row": (variable.shape[0],)}
        return {
            name: self.add_variable(
                shape=shapes[slot.per],
                initializer=keras.initializers.Constant(slot.start) if slot.start else "zeros",
                dtype=slot.dtype or variable.dtype,
                name=f"{variable.name}_{name}",
            )
            for name, slot in rule.SLOTS.items()
        }

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        super().apply(sum_duplicates(grads), trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        # Of one replica it is the identity, but would make plain slices of summed ones.
        if self._distribution_strategy.num_replicas_in_sync == 1:
            return grads_and_vars
        return super()._all_reduce_sum_gradients(grads_and_vars)

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        if self.clipnorm:
            return [map_values(g, lambda values: tf.clip_by_norm(values, self.clipnorm)) for g in grads]
        if self.global_clipnorm:
            norm = tf.linalg.global_norm(list(grads))
            scale = self.global_clipnorm / tf.maximum(norm, self.global_clipnorm)
            scale += norm - norm  # not a number where the norm is none
            return [map_values(g, lambda values: values * tf.cast(scale, values.dtype)) for g in grads]
        if self.clipvalue:
            size = self.clipvalue
            return [map_values(g, lambda values: tf.clip_by_value(values, -size, size)) for g in grads]
        return grads

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Of all but tables, which their rules decay; in steps where it can change a float32."""
        others = [v for v in variables if self._rule_of(v) is None]
        decay = partial(super()._apply_weight_decay, others)
        if not self.weight_decay or tf.distribute.has_strategy():
            decay()
            return
        share = tf.cast(self.learning_rate, tf.float32) * self.weight_decay
        tf.cond(share < LEAST_SHARE, lambda: None, decay)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        slots = self._slots[index]
        # By the variable itself: of its copies on replicas all but the first have other names.
        rule = self._rule_of(self._trainable_variables[index])
        dtype, iterations = variable.dtype, plain(self.iterations)
        if rule is not None:
            gradient = map_values(summed(gradient), lambda values: tf.cast(values, dtype))
            rate = learning_rate if self.table_learning_rate is None else self.table_learning_rate
            rule.step(variable, slots, gradient, tf.cast(rate, dtype), iterations)
            return
        handles = [variable.handle, slots["momentum"].handle, slots["velocity"].handle]
        hyper = Hyper(0.0, 0.0, self.beta_1, self.beta_2, self.epsilon)
        gradient = tf.cast(tf.convert_to_tensor(gradient), dtype)
        adam_kernel(gradient, tf.cast(learning_rate, dtype), iterations, hyper).fused(handles)

    def _waiting(self) -> Iterator[tuple[Any, Callable[[tf.Tensor], None]]]:
        """The tables whose rows wait, and what brings rows [U] up to date."""
        for index, variable in enumerate(self._trainable_variables):
            rule = self._rule_of(variable)
            if isinstance(rule, ExactAdam):
                yield (
                    variable,
                    partial(rule.catch_up, self._plain[index], self._slots[index], self._iterations.value),
                )

    def finalize_variable_values(self, var_list: Any = None) -> None:
        """Brings every row of every table up to date; Keras' `fit` calls it when it ends."""
        for variable, catch_up in self._waiting():
            catch_up = tf.function(catch_up, reduce_retracing=True)
            for start in range(0, variable.shape[0], _CHUNK):
                catch_up(tf.range(start, min(start + _CHUNK, variable.shape[0])))

    def get_config(self) -> dict[str, Any]:
        own = {
            "tables": self.tables,
            "table_learning_rate": self.table_learning_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
        return {**super().get_config(), **own}
