"""Which power each task gets."""

from __future__ import annotations

from rmtl_tf.training.power import choose_powers


def test_every_task_gets_the_power_with_its_own_best_auc():
    aucs = {
        -1.0: {"click": 0.8, "buy": 0.6},
        0.0: {"click": 0.7, "buy": 0.65},
        2.0: {"click": 0.6, "buy": 0.7},
    }
    choice = choose_powers([-1.0, 0.0, 2.0], ["click", "buy"], aucs.__getitem__)
    assert choice.chosen == {"click": -1.0, "buy": 2.0}
    assert choice.candidates == aucs


def test_of_equal_ones_the_nearest_to_zero_is_taken_and_then_the_first():
    equal = lambda power: {"click": 0.7}  # noqa: E731
    assert choose_powers([-1.0, 1.0, 0.5], ["click"], equal).chosen == {"click": 0.5}
    assert choose_powers([1.0, -1.0], ["click"], equal).chosen == {"click": 1.0}
    assert choose_powers([-1.0, 1.0], ["click"], equal).chosen == {"click": -1.0}


def test_a_candidate_named_twice_is_tried_once():
    tried = []
    choose_powers([1.0, 1.0, 0.0], ["click"], lambda power: tried.append(power) or {"click": power})
    assert tried == [1.0, 0.0]
