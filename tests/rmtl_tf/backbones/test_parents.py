"""Tests of `parents_of`."""

import pytest

from rmtl_tf.backbones.parents import parents_of
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Task


def test_parents_are_indices_in_schema_order():
    tasks = [Task("click"), Task("like", "click"), Task("view"), Task("buy", "click"), Task("return", "buy")]
    assert parents_of("X", tasks) == (None, 0, None, 0, 3)


@pytest.mark.parametrize("tasks", [[Task("click")], [Task("click"), Task("buy")]])
def test_no_parent_is_needed_unless_said(tasks):
    assert parents_of("X", tasks) == (None,) * len(tasks)


@pytest.mark.parametrize(
    "tasks",
    [[Task("buy", "click"), Task("click")], [Task("click", "click")], [Task("click"), Task("buy", "klick")]],
)
def test_parent_that_does_not_stand_before_its_child_is_refused(tasks):
    with pytest.raises(UserError, match=r"X, task .* must stand before"):
        parents_of("X", tasks)


@pytest.mark.parametrize("tasks", [[Task("click")], [Task("click"), Task("buy")]])
def test_tasks_without_a_needed_parent_are_refused_with_a_way_out(tasks):
    with pytest.raises(UserError, match=r"X: expected a task with a parent.*\n?.*parent:<task>"):
        parents_of("X", tasks, needed=True)
