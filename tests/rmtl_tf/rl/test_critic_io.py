from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rmtl_tf.config import CriticConfig
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.files import digest_tree, read_json, write_json
from rmtl_tf.rl.critic_forms import FORMS, build_critic
from rmtl_tf.rl.critic_io import CRITIC_FILE, WEIGHTS_FILE, load_critic, read_metadata, save_critic
from tests.conftest import make_table, small_spec

METADATA = {"tasks": ["click", "buy"], "gamma": 0.95, "encoding": {"user": "aa", "price": "bb"}}


def make_critic(form="shared", seed=1, output="softplus"):
    config = CriticConfig(form=form, output=output, bottom=(6,), action=3, tower=(4,))
    return build_critic(config, small_spec(), 2, embedding_dim=4, seed=seed)


@pytest.fixture
def saved(tmp_path):
    save_critic(tmp_path / "critic", make_critic(), METADATA)
    return tmp_path / "critic"


def values(critic):
    table = make_table([5, 4, 3])
    actions = np.random.default_rng(0).random((table.rows, 2)).astype(np.float32)
    return critic(table.features, actions).numpy()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("output", ["softplus", "relu"])
def test_a_saved_critic_comes_back_with_the_same_values_to_the_bit(tmp_path, form, output):
    critic = make_critic(form, output=output)
    critic.start_from([-0.5, -2.0])
    save_critic(tmp_path / "a", critic, METADATA)
    loaded = load_critic(tmp_path / "a", small_spec(), 2, embedding_dim=4, metadata=METADATA)
    assert type(loaded) is FORMS[form]
    np.testing.assert_array_equal(values(loaded), values(critic))
    assert read_metadata(tmp_path / "a") == METADATA


def test_equal_critics_are_saved_as_equal_bytes(tmp_path):
    for name in "ab":
        save_critic(tmp_path / name, make_critic(), METADATA)
    save_critic(tmp_path / "c", make_critic(seed=2), METADATA)
    assert digest_tree(tmp_path / "a") == digest_tree(tmp_path / "b") != digest_tree(tmp_path / "c")


def test_order_of_the_inputs_does_not_matter(saved):
    spec = small_spec()
    turned = InputSpec(spec.categorical[::-1], spec.numeric[::-1], ids=())
    np.testing.assert_array_equal(values(load_critic(saved, turned, 2)), values(make_critic()))


OTHER_STATES = [
    ({"categorical": (("user", 7), ("item", 12), ("hour", 26))}, "input 'item': .*11 ids, here 12 ids"),
    ({"categorical": (("user", 7), ("hour", 26)), "ids": ()}, "input 'item': .*11 ids, here none"),
    ({"numeric": ("price", "age", "rate")}, "input 'rate': .*none, here a number"),
    (
        {"categorical": (("user", 7), ("item", 11), ("hour", 26), ("age", 5)), "numeric": ("price",)},
        "input 'age': .*a number, here 5 ids",
    ),
]


@pytest.mark.parametrize(("changes", "message"), OTHER_STATES)
def test_a_critic_of_other_inputs_is_refused_naming_them(saved, changes, message):
    spec = InputSpec(**{**vars(small_spec()), **changes})
    with pytest.raises(UserError, match=message) as error:
        load_critic(saved, spec, 2)
    assert str(error.value).count("the critic has") == 1


def test_every_difference_is_named_at_once(saved):
    spec = InputSpec((("user", 8), ("item", 11), ("hour", 26)), ("price", "age"))
    metadata = {"tasks": ["click", "like"], "encoding": {"user": "zz", "age": "cc"}}
    with pytest.raises(UserError) as error:
        load_critic(saved, spec, 3, embedding_dim=16, metadata=metadata)
    text = str(error.value)
    for part in (
        "input 'user': the critic has 7 ids, here 8 ids",
        "number of tasks: the critic has 2, here 3",
        "embedding width: the critic has 4, here 16",
        "tasks: the critic has ['click', 'buy'], here ['click', 'like']",
        "encoding: user: the critic has aa, here zz",
        "encoding: age: the critic has none, here cc",
        "encoding: price: the critic has bb, here none",
    ):
        assert part in text
    assert text.count("the critic has") == 7


def test_metadata_nobody_asks_for_is_no_difference(saved):
    load_critic(saved, small_spec(), 2, metadata={"gamma": 0.95})
    with pytest.raises(UserError, match=r"gamma: the critic has 0\.95, here 0\.5"):
        load_critic(saved, small_spec(), 2, metadata={"gamma": 0.5})


@pytest.mark.parametrize("damage", ["folder", CRITIC_FILE, WEIGHTS_FILE, "torn", "version", "text"])
def test_a_folder_without_a_whole_critic_is_refused_with_what_belongs_there(saved, damage):
    if damage == "folder":
        saved = saved / "absent"
    elif damage == "torn":
        (saved / WEIGHTS_FILE).write_bytes((saved / WEIGHTS_FILE).read_bytes()[:-30])
    elif damage == "version":
        write_json(saved / CRITIC_FILE, {**read_json(saved / CRITIC_FILE), "version": 99})
    elif damage == "text":
        (saved / CRITIC_FILE).write_text("{")
    else:
        (saved / damage).unlink()
    with pytest.raises(UserError, match="expected a folder that training wrote"):
        load_critic(saved, small_spec(), 2)


def test_a_critic_of_another_history_is_refused_naming_what_differs(tmp_path):
    critic = build_critic(CriticConfig(bottom=(6,), action=3, tower=(4,)), small_spec("gru"), 2, 4)
    save_critic(tmp_path, critic, METADATA)
    np.testing.assert_array_equal(load_critic(tmp_path, small_spec("gru"), 2).weights[0], critic.weights[0])
    with pytest.raises(UserError, match="history encoder: the critic has gru, here mean"):
        load_critic(tmp_path, small_spec("mean"), 2)
    with pytest.raises(UserError, match="history length: the critic has 4, here none"):
        load_critic(tmp_path, small_spec(), 2)
    longer = replace(small_spec("gru"), history=replace(small_spec("gru").history, length=9))
    with pytest.raises(UserError, match="history length: the critic has 4, here 9") as error:
        load_critic(tmp_path, longer, 2)
    assert str(error.value).count("the critic has") == 1


def test_a_critic_saved_before_there_were_histories_is_one_without(saved):
    stored = read_json(saved / CRITIC_FILE)
    del stored["config"]["spec"]["history"]
    write_json(saved / CRITIC_FILE, stored)
    np.testing.assert_array_equal(values(load_critic(saved, small_spec(), 2)), values(make_critic()))
