"""The links between tasks (`Task.parent`), for backbones that pass information along them."""

from __future__ import annotations

from collections.abc import Sequence

from rmtl_tf.errors import UserError
from rmtl_tf.schema import Task


def parents_of(model: str, tasks: Sequence[Task], needed: bool = False) -> tuple[int | None, ...]:
    """Index of each task's parent, None for a task that has none: K entries.

    Args:
        model: who asks, for the errors.
        tasks: a parent must stand before its children.
        needed: whether some task must have a parent. Default False.

    Raises:
        UserError: a parent does not stand before its child, or a parent is needed and there is none.
    """
    names = [task.name for task in tasks]
    for k, task in enumerate(tasks):
        if task.parent is not None and task.parent not in names[:k]:
            raise UserError(
                f"{model}, task {task.name!r}: parent {task.parent!r} must stand before it in {names}."
            )
    if needed and all(task.parent is None for task in tasks):
        raise UserError(
            f"{model}: expected a task with a parent, received none among {names}. Tag the label of a task "
            "that presupposes another with 'parent:<task>', or choose shared_bottom."
        )
    return tuple(None if task.parent is None else names.index(task.parent) for task in tasks)
