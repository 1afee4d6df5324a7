from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from rmtl_tf.data.column_guess import (
    Profile,
    auc,
    best_role,
    best_time,
    constant_in,
    parent_of,
    words_of,
)


def _profile(name: str, values: list) -> Profile:
    return Profile.of(name, pl.Series(name, [None if value is None else str(value) for value in values]))


@pytest.mark.parametrize("name", ["videoId", "video_id", "VIDEO-ID", "video id", "Video.Id"])
def test_a_name_is_taken_apart_however_it_is_written(name):
    assert words_of(name) == ("video", "id")


@pytest.mark.parametrize(
    ("names", "role", "expected"),
    [
        (["personId", "contentId", "sessionId"], "user", "personId"),
        (["personId", "contentId", "sessionId"], "item", "contentId"),
        (["personId", "contentId", "sessionId"], "session", "sessionId"),
        (["visitorid", "itemid"], "user", "visitorid"),
        (["search_id", "x"], "session", "search_id"),
        (["follow_user_num", "is_video_author", "user_id"], "user", "user_id"),
        (["follow_user_num", "user_active_degree"], "user", None),
        (["product", "user"], "item", "product"),
        (["user_agent_id", "user_id"], "user", "user_id"),
    ],
)
def test_roles_are_found_by_name(names, role, expected):
    found = best_role([_profile(name, ["a"]) for name in names], role)
    assert (found.name if found else None) == expected


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([1_465_413_032, 1_465_413_040], 1),
        ([1_465_413_032_123], 1_000),
        ([1_465_413_032_123_456], 1_000_000),
        ([1_465_413_032_123_456_789], 1_000_000_000),
        ([20_220_410], None),
        ([1_465_413_032, None], None),
        ([1_465_413_032.5], None),
        (["noon"], None),
    ],
)
def test_the_unit_of_a_time_follows_from_its_size(values, ticks):
    assert _profile("t", values).per_second == ticks


def test_of_several_times_the_named_one_is_taken_and_identifiers_never():
    seconds = [1_465_413_032, 1_465_413_040]
    columns = [_profile("order_id", seconds), _profile("x", seconds), _profile("click_time", seconds)]
    assert best_time(columns).name == "click_time"  # type: ignore[union-attr]
    assert best_time(columns[:1]) is None


def test_kinds_of_numbers_are_told_apart():
    assert _profile("x", [0, 1, 1]).is_binary
    assert not _profile("x", [0, 0]).is_binary
    assert not _profile("x", [0, 1, None]).is_binary
    assert not _profile("x", [0, 1, 2]).is_binary
    many = list(range(50))
    assert _profile("price", many).is_quantity
    assert not _profile("shop_id", many).is_quantity
    assert not _profile("grade", [1, 2, 3] * 20).is_quantity
    assert not _profile("x", [*many, "?"]).is_quantity
    assert _profile("x", [-1, 2.5, None]).is_negative
    assert _profile("x", [1, 2, None]).is_whole
    assert not _profile("x", [1, 2.5]).is_whole


def test_a_heavy_tail_is_far_above_the_middle():
    assert _profile("x", [1] * 90 + [1000] * 10).is_heavy_tailed
    assert not _profile("x", list(range(100))).is_heavy_tailed
    assert not _profile("x", [-1] * 90 + [1000] * 10).is_heavy_tailed


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["20,43", "3", "43,3,20", "20", "3,43"] * 5, (",", 3)),
        (["a|b", "b|c", "c|a", "a"] * 5, ("|", 2)),
        (["x1 y2", "y2 x1", "x1"] * 5, (" ", 2)),
        (["[10,100)", "[1,10)", "[100,1k)"] * 5, None),
        (["a", "b", "c"], None),
        (["1,000", "2,000", "3,000", "4,500", "7,120", "8,345"], None),
        ([None, None], None),
        ([1, 2, 3], None),
    ],
)
def test_several_values_are_seen_where_parts_come_again(values, expected):
    assert _profile("x", values).separator() == expected


def test_a_parent_is_the_rarest_label_that_is_always_there_too():
    view = np.array([1, 1, 1, 1, 0])
    click = np.array([1, 1, 1, 0, 0])
    buy = np.array([1, 0, 0, 0, 0])
    hate = np.array([0, 0, 0, 1, 1])
    assert parent_of(buy, [("view", view), ("click", click), ("hate", hate)]) == "click"
    assert parent_of(click, [("view", view), ("hate", hate)]) == "view"
    assert parent_of(hate, [("view", view)]) is None
    assert parent_of(buy, [("same", buy)]) is None


def test_a_column_is_constant_where_groups_of_two_or_more_have_one_value():
    groups = pl.Series(["a", "a", "b", "b", "c"])
    assert constant_in(groups, pl.Series(["x", "x", "y", None, "z"]))
    assert not constant_in(groups, pl.Series(["x", "y", "y", "y", "z"]))
    assert not constant_in(pl.Series(["a", "b"]), pl.Series(["x", "y"]))


def test_the_auc_equals_scikit_learns_in_the_better_direction():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    scores = np.round(rng.normal(labels, 1), 1)
    expected = roc_auc_score(labels, scores)
    assert auc(scores, labels) == pytest.approx(expected)
    assert auc(-scores, labels) == pytest.approx(expected)
    assert auc(scores, np.ones(500)) == 0.5
