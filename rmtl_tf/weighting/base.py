"""The form of a loss weighting: a pair of pure functions on a small state."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol

import tensorflow as tf

from rmtl_tf import replicas
from rmtl_tf.errors import UserError

State = tuple[Any, ...]


class Context(NamedTuple):
    """What a weighting may read about the N records of a batch; None where it was not computed.

    Attributes:
        q: critic values [N, K] of the actor's predictions, <= 0.
        returns: exact discounted returns [N, K] of the frozen actor (Monte Carlo), <= 0.
        labels: [N, K], 0 or 1.
        session_length: [N], records in the record's session, as float.
        mask: [N], 0 where the row is padding or look-ahead; None: every row counts.
        frozen: probabilities [N, K] of the frozen actor.
        value: state values [N, K], <= 0: the critic at the batch's mean action instead of the record's.
    """

    q: Any = None
    returns: Any = None
    labels: Any = None
    session_length: Any = None
    mask: Any = None
    frozen: Any = None
    value: Any = None


class Weighting(Protocol):
    """A weighting of losses: omega [N, K], one weight for each record and task.

    `NEEDS` names the fields of `Context` that `update` reads.
    """

    @property
    def NEEDS(self) -> frozenset[str]: ...  # noqa: N802 - a constant of most weightings

    def init(self, num_tasks: int) -> State:
        """The state before the first batch: a tuple of tensors, empty for most."""
        ...

    def update(self, losses: tf.Tensor, context: Context, state: State) -> tuple[tf.Tensor, State]:
        """Losses [N, K] -> weights [N, K] and the next state. No gradient flows through the weights."""
        ...


class Memoryless:
    """Base of the weightings without state: a subclass defines `omega` and `NEEDS`."""

    NEEDS: ClassVar[frozenset[str]] = frozenset()

    def omega(self, losses: tf.Tensor, context: Context) -> tf.Tensor:
        """Weights [N, K], or of a shape that broadcasts to it."""
        raise NotImplementedError(f"{type(self).__name__} must define omega(losses, context)")

    def init(self, num_tasks: int) -> State:
        return ()

    def update(self, losses: tf.Tensor, context: Context, state: State) -> tuple[tf.Tensor, State]:
        require(self, context)
        weights = tf.broadcast_to(self.omega(losses, context), tf.shape(losses))
        return tf.stop_gradient(weights), state


class TaskLevel:
    """Base of the weightings that give all records of a task one weight: a subclass defines `task_weights`,
    and `init` where it has state.

    The agent minimises the mean over tasks, so a method whose paper sums w_k L_k has omega_k = K w_k.
    """

    NEEDS: ClassVar[frozenset[str]] = frozenset({"mask"})

    def task_weights(self, losses: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Mean losses [K] of the batch's valid records -> weights [K] and the next state."""
        raise NotImplementedError(f"{type(self).__name__} must define task_weights(losses, state)")

    def init(self, num_tasks: int) -> State:
        return ()

    def update(self, losses: tf.Tensor, context: Context, state: State) -> tuple[tf.Tensor, State]:
        require(self, context)
        means = tf.stop_gradient(task_means(losses, context.mask))
        weights, state = self.task_weights(means, state)
        return tf.stop_gradient(tf.broadcast_to(weights, tf.shape(losses))), state


def require(weighting: Weighting, context: Context) -> None:
    """Checks that the context has what the weighting reads.

    Raises:
        UserError: a field of `NEEDS` is None.
    """
    for name in sorted(weighting.NEEDS):
        if getattr(context, name) is None:
            raise UserError(
                f"weighting {type(weighting).__name__}: expected context.{name}, received None. "
                f"Compute every field named in NEEDS: {sorted(weighting.NEEDS)}."
            )


def task_means(losses: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Mean [K] of losses [N, K] over the rows whose mask [N] is above 0, of all replicas; 0 where there are
    none."""
    valid = tf.ones_like(losses) if mask is None else tf.cast(mask, losses.dtype)[:, tf.newaxis]
    total = tf.reduce_sum(tf.where(valid > 0, losses, 0.0), axis=0)
    count = tf.reduce_sum(tf.cast(tf.broadcast_to(valid > 0, tf.shape(losses)), losses.dtype), axis=0)
    return tf.math.divide_no_nan(*replicas.total([total, count]))


def power_law(value: tf.Tensor, lam: float, power: float | tuple[float, ...]) -> tf.Tensor:
    """(1 - lambda * value)^power for values [N, K] <= 0; exactly 1 where lambda or power is 0.

    Args:
        power: one, or K, one for each task.
    """
    if isinstance(power, tuple):
        columns = zip(tf.unstack(value, len(power), axis=1), power, strict=True)
        return tf.stack([power_law(column, lam, own) for column, own in columns], axis=1)
    base = 1.0 - lam * value
    if power == 1:
        return base
    if power == -1:
        # tf.pow may differ in the last bit between equal elements, by their place in a vector register.
        return 1.0 / base
    return tf.pow(base, power)
