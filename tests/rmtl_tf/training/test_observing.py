"""Who watches a training is told its epochs, and only while watching."""

from __future__ import annotations

import pytest

from rmtl_tf.training.observing import observed, tell


def test_only_the_innermost_observer_is_told_and_the_one_before_comes_back():
    outer, inner = [], []
    tell("pretrain", {"epoch": 1})
    with observed(lambda phase, epoch: outer.append((phase, epoch["epoch"]))):
        with observed(lambda phase, epoch: inner.append((phase, epoch["epoch"]))):
            tell("pretrain", {"epoch": 2})
        tell("pretrain", {"epoch": 3})
    tell("pretrain", {"epoch": 4})
    assert (outer, inner) == ([("pretrain", 3)], [("pretrain", 2)])


def test_observer_that_raises_ends_the_training_and_watches_no_other():
    def stop(phase, epoch):
        raise KeyError(phase)

    with pytest.raises(KeyError, match="pretrain"), observed(stop):
        tell("pretrain", {"epoch": 1})
    tell("pretrain", {"epoch": 1})
