"""Peers compute what ours computes, in processes of their own; PyTorch's are checked by `make bench`."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest

from benchmarks.train.bench import BACKBONES, Bench
from benchmarks.train.functional import BACKBONES as FUNCTIONAL
from benchmarks.train.parity import check_parity, small
from benchmarks.train.setting import Setting
from benchmarks.train.worker import in_turns
from rmtl_tf.backbones import BACKBONES as REGISTERED


@pytest.fixture(scope="module")
def bench():
    with Bench() as started:
        yield started


def test_every_registered_backbone_is_compared():
    assert set(BACKBONES) == set(REGISTERED)


@pytest.mark.parametrize("peer", ["keras", "tfrs"])
def test_peers_agree_with_ours_given_the_same_weights_and_train_away_from_them(bench, peer):
    ours, other = bench.worker("ours"), bench.worker(peer)
    for backbone in FUNCTIONAL:
        assert check_parity(ours, other, small(Setting(backbone))) < 1e-5
    ids, labels = (values[0] for values in other_setting().records())
    before = other.loss(ids, labels)
    assert other.steps(2) > 0
    assert other.loss(ids, labels) != before
    with pytest.raises(RuntimeError, match=r"at most 2 steps a round, received 3"):
        other.steps(3)
    with pytest.raises(RuntimeError, match=r"no layer takes \['more.weight'\]"):
        other.set_weights({"more.weight": np.ones(1)})


def other_setting():
    return small(Setting("esmm"))


def test_ours_counts_flops_measures_peaks_and_fits(bench):
    ours, setting = bench.worker("ours"), small(Setting("shared_bottom"))
    ours.make(setting)
    widths = [(56, 12), (12, 10), *2 * [(10, 6), (6, 5), (5, 1)]]
    assert ours.ask("flops") == 3 * 2 * setting.batch * sum(a * b for a, b in widths)
    assert ours.ask("peak", dtype="float32", size=32) > 0
    assert ours.ask("input", count=3) > 0
    ids, labels = (values[0] for values in setting.records())
    before = ours.loss(ids, labels)
    assert in_turns([ours], rounds=2, warm=1)["ours"].shape == (2,)
    assert ours.loss(ids, labels) < before
    ours.make(setting.having(loop="fit", dtype="mixed_bfloat16"))
    assert ours.steps(2) > 0
    ours.free()
    with pytest.raises(RuntimeError, match="steps"):
        ours.steps(1)


def worker(name, logits, loss):
    return Mock(
        **{"logits.return_value": logits, "loss.return_value": loss},
        **{"weights.return_value": {}},
        name=name,
    )


@pytest.mark.parametrize(
    ("logits", "loss", "complaint"),
    [
        ([[0.0, 1.0]], 0.5, None),
        ([[0.0, 1.1]], 0.5, "differs"),
        ([[0.0, 1.0]], 0.6, "differs"),
        ([[0.0, np.nan]], 0.5, "differs"),
    ],
)
def test_parity_refuses_other_logits_and_another_loss(logits, loss, complaint):
    pair = worker("ours", np.array([[0.0, 1.0]]), 0.5), worker("peer", np.array(logits), loss)
    if complaint is None:
        assert check_parity(*pair, small(Setting("mmoe"))) == 0
    else:
        with pytest.raises(AssertionError, match=complaint):
            check_parity(*pair, small(Setting("mmoe")))


def test_parity_of_logits_that_are_all_alike_says_nothing():
    pair = [worker(name, np.zeros((3, 2)), 0.5) for name in ("ours", "peer")]
    with pytest.raises(AssertionError, match="all alike"):
        check_parity(*pair, small(Setting("mmoe")))
