"""docs/models.md lists every registered method, and its generator works for each of them."""

from __future__ import annotations

import dataclasses
import re
from itertools import pairwise
from math import prod

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import models
from benchmarks.critic_closed_form import BIASED, CASES
from benchmarks.document import MODELS, busy, rewrite, section, table
from benchmarks.flops import matmul_flops
from benchmarks.references import reference, split, summary
from benchmarks.speed import Size, interleaved, make_backbone, speeds
from rmtl_tf.backbones import BACKBONES
from rmtl_tf.config import CriticConfig, ModelConfig
from rmtl_tf.rl.agents import AGENTS
from rmtl_tf.rl.critic_forms import FORMS
from rmtl_tf.weighting import WEIGHTINGS

TINY = Size(
    fields=3,
    rows=5,
    batch=16,
    model=ModelConfig(
        embedding_dim=2, bottom=(4,), tower=(3,), experts=2, shared_experts=1, task_experts=1, relation=(3,)
    ),
    critic=CriticConfig(bottom=(4,), action=2, tower=(3,)),
)
LISTED = {"backbones": BACKBONES, "weightings": WEIGHTINGS, "critics": FORMS, "agents": AGENTS}


def cells(content):
    """{name: other cells} of a generated table."""
    rows = [line.strip("| ").split(" | ") for line in content.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


@pytest.fixture
def eager():
    """Steps run as they are: tracing each of them would take a minute."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def page():
    return MODELS.read_text()


@pytest.mark.parametrize("name", models.TABLES)
def test_the_page_lists_every_registered_method(name, page):
    missing = set(LISTED[name]) ^ set(cells(section(page, name)))
    assert not missing, f"python benchmarks/models.py regenerates docs/models.md: {sorted(missing)}"


@pytest.mark.parametrize("name", models.TABLES)
def test_the_generator_measures_every_registered_method(name, eager):
    found = cells(models.TABLES[name](TINY, 1))
    assert set(found) == set(LISTED[name])
    for row in found.values():
        speed = re.findall(r"\d+", row[-1])
        assert speed
        assert int("".join(re.findall(r"\d", row[-2]))) > 0


def test_the_page_says_where_it_was_measured_and_holds_the_closed_form_table(page):
    assert re.search(r"Measured on \d{4}-\d\d-\d\d on \d+ cores of .*TensorFlow 2", section(page, "machine"))
    shown = re.findall(r"^\| `(\w+)` \| `(\w+)` \| ([\d.]+) \| (\w+) \|", section(page, "closed form"), re.M)
    cases = [dataclasses.astuple(case) for case in (*CASES, *BIASED)]
    assert shown == [(form, target, str(gamma), loss) for form, target, gamma, loss in cases]


def test_flops_of_shared_bottom_are_those_counted_by_hand():
    size = Size(fields=7, rows=5, batch=64)
    bottom, towers = (7 * 128, 512, 256), 2 * [(256, 128, 64, 1)]
    by_hand = sum(2 * prod(pair) for widths in (bottom, *towers) for pair in pairwise(widths))
    assert models.forward_flops(make_backbone(size, "shared_bottom"), size) == by_hand == 1_343_744


def test_flops_of_batched_products_and_einsum_are_counted_and_others_refused():
    a, b = tf.TensorSpec((3, 4, 5)), tf.TensorSpec((3, 5, 6))
    expected = 2 * 3 * 4 * 5 * 6
    assert matmul_flops(tf.matmul, a, b) == expected
    assert (
        matmul_flops(lambda x, y: tf.matmul(x, y, transpose_b=True), a, tf.TensorSpec((3, 6, 5))) == expected
    )
    assert (
        matmul_flops(
            lambda x, y: tf.matmul(x, y, transpose_a=True), tf.TensorSpec((5, 4)), tf.TensorSpec((5, 6))
        )
        == 240
    )
    assert matmul_flops(lambda x, y: tf.einsum("eni,eio->neo", x, y), a, b) == expected
    assert matmul_flops(lambda x: x * 2.0 + tf.reduce_sum(x), a) == 0
    with pytest.raises(ValueError, match="Conv2D"):
        matmul_flops(lambda x: tf.nn.conv2d(x, tf.ones((1, 1, 3, 3)), 1, "SAME"), tf.TensorSpec((1, 4, 4, 3)))
    inner = tf.function(tf.matmul)
    with pytest.raises(ValueError, match="MatMul"):
        matmul_flops(lambda x, y: inner(x, y), a, b)


def test_parameters_split_tables_from_the_network():
    network, tables = models.parameters(make_backbone(TINY, "shared_bottom"))
    assert tables == 3 * 5 * 2
    assert network == (6 * 4 + 4) + 2 * ((4 * 3 + 3) + (3 + 1))
    assert models.parameters(make_backbone(TINY, "single_task"))[1] == 2 * tables


def test_what_a_backbone_does_with_parents_is_found_by_building_it():
    found = {name: models.parent_use(name) for name in ("shared_bottom", "esmm", "aitm", "escm2_ips")}
    assert found == {"shared_bottom": "ignored", "esmm": "used", "aitm": "required", "escm2_ips": "required"}


def test_needs_are_those_of_the_weighting():
    assert models.needs("wl", WEIGHTINGS["wl"]) == "labels, critic"
    assert models.needs("pcgrad", WEIGHTINGS["pcgrad"]) == "K backward passes"
    assert models.needs("constant", WEIGHTINGS["constant"]) == "-"
    levels = [models.level(WEIGHTINGS[name]) for name in ("rmtl", "dwa", "mgda")]
    assert levels == ["records", "tasks", "gradients"]


class Documented:
    """Weighs. And more.

    Args:
        x: a number.

    References:
        Ma et al., "Multi-gate
        Experts", KDD 2018, equations 1-3 (the gate).

    Afterword.
    """


class Heir(Documented):
    """No reference of its own."""


def test_paper_and_equations_come_from_the_docstring_or_the_nearest_base():
    expected = ('Ma et al., "Multi-gate Experts", KDD 2018', "equations 1-3 (the gate)")
    assert reference(Documented) == reference(Heir) == expected
    assert reference(dict) == ("", "")
    assert summary(Documented) == "Weighs."
    assert split('Liu, "A", 2023 (its baseline).') == ('Liu, "A", 2023', "(its baseline)")
    expected = ("Wang, 2019, arXiv 1902.09154", "Equations read in EasyRec")
    assert split("Wang, 2019, arXiv 1902.09154. Equations read in EasyRec.") == expected
    assert split("The authors' code.") == ("The authors' code", "")


def test_a_section_is_rewritten_and_the_rest_of_the_page_stays():
    page = "a\n<!-- generated: x -->\nold\n<!-- end: x -->\nb\n<!-- generated: y -->\n<!-- end: y -->\n"
    new = rewrite(page, "x", table(("name", "size "), [("a", 1)]))
    assert section(new, "x") == "| name | size |\n| --- | ---: |\n| a | 1 |"
    assert rewrite(new, "x", "old") == page
    with pytest.raises(ValueError, match="'z'"):
        rewrite(page, "z", "")


def test_figures_of_a_busy_machine_are_marked():
    assert busy(0.1) == ""
    assert "load average 7.5 before" in busy(7.46)


def test_speed_is_a_median_and_a_ratio_within_the_round():
    seconds = {"base": np.array([1.0, 2.0, 9.0]), "other": np.array([2.0, 4.0, 6.0])}
    found = speeds(seconds, "base", batch=8)
    assert found["base"] == (4.0, 1.0)
    assert found["other"] == (2.0, 0.5)
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "ab"}
    assert {name: len(values) for name, values in interleaved(steps, 3).items()} == {"a": 3, "b": 3}
    assert "".join(calls) == "aabb" + "ab" * 3
