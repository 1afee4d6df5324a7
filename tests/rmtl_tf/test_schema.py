from __future__ import annotations

from pathlib import Path

import pytest

from rmtl_tf.errors import UserError
from rmtl_tf.schema import Comparator, Task, read_schema

ROOT = Path(__file__).resolve().parents[2]

VALID = """
feature { name: "u" type: BYTES annotation { tag: "user" tag: "context" } }
feature { name: "i" type: BYTES annotation { tag: "item" tag: "step" } }
feature { name: "t" type: INT annotation { tag: "timestamp" } }
feature { name: "p" type: FLOAT float_domain { min: 0 max: 9 } annotation { tag: "step" tag: "log" } }
feature { name: "d" type: BYTES annotation { tag: "step" } string_domain { value: "a" value: "b" } }
feature { name: "y" type: INT annotation { tag: "label:click" } }
feature { name: "z" type: INT annotation { tag: "label:buy" tag: "parent:click" } }
"""


def parse(tmp_path, text):
    path = tmp_path / "test.pbtxt"
    path.write_text(text)
    return read_schema(path)


@pytest.mark.parametrize("path", sorted((ROOT / "data_schemas").glob("*.pbtxt")), ids=lambda path: path.stem)
def test_every_shipped_schema_is_valid(path):
    schema = read_schema(path)
    assert schema.session or schema.user
    assert len(schema.tasks) == 2
    assert schema.tasks[1].parent == schema.tasks[0].name


def test_roles_types_and_domains_are_read(tmp_path):
    schema = parse(tmp_path, VALID)
    assert (schema.user, schema.item, schema.timestamp, schema.session) == ("u", "i", "t", None)
    assert schema.tasks == (Task("click"), Task("buy", parent="click"))
    assert schema.labels == ("y", "z")
    assert [f.name for f in schema.inputs] == ["u", "i", "p", "d"]
    price = schema.feature("p")
    assert (price.kind, price.low, price.high, price.log, price.required) == ("numeric", 0, 9, True, False)
    assert schema.feature("d").values == ("a", "b")
    assert schema.feature("u").context
    assert schema.feature("u").required
    assert not schema.feature("i").context


def test_several_values_and_the_unit_of_the_time_are_read(tmp_path):
    text = VALID.replace('tag: "timestamp"', 'tag: "timestamp" tag: "unit:ms"')
    text += """feature { name: "m" type: BYTES value_count { max: 3 }
        annotation { tag: "step" tag: "split: " } string_domain { value: "a" } }"""
    schema = parse(tmp_path, text)
    several = schema.feature("m")
    assert (several.multivalued, several.max_values, several.separator) == (True, 3, " ")
    assert several.values == ("a",)
    assert not schema.feature("d").multivalued
    assert schema.feature("t").per_second == 1000


def test_items_may_be_without_identity_and_users_too_where_sessions_are_given(tmp_path):
    text = VALID.replace('tag: "item" ', "").replace('tag: "user" ', "")
    text += 'feature { name: "s" type: BYTES annotation { tag: "session" } }'
    schema = parse(tmp_path, text)
    assert (schema.user, schema.item, schema.session) == (None, None, "s")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('tag: "step" } string_domain', 'tag: "step" tag: "split:," } string_domain', "'d'.*value_count"),
        ('name: "d"', 'name: "d" value_count { max: 2 }', "'d'.*a tag split:<character>"),
        ('tag: "item"', 'tag: "item" tag: "split:,"', "'i'.*no user, no item"),
        ('tag: "step" tag: "log"', 'tag: "step" tag: "split:,"', "'p'.*only a categorical"),
        ('tag: "step" tag: "log"', 'tag: "step" tag: "unit:ms"', "'p'.*'unit' is for the timestamp"),
        ('tag: "timestamp"', 'tag: "timestamp" tag: "unit:days"', r"unknown tag 'unit:days'.*unit:s\|ms"),
        ('tag: "user" ', "", "no feature has the tag 'user'"),
        ('tag: "label:click"', 'tag: "step"', "'y'.*type is INT"),
        ('tag: "label:buy"', 'tag: "label:click"', "two labels|must be a label"),
        ('tag: "parent:click"', 'tag: "parent:view"', "parent task 'view'"),
        ('tag: "step" tag: "log"', 'tag: "stepp"', "unknown tag 'stepp'"),
        ('tag: "step" tag: "log"', 'tag: "step" tag: "context"', "exactly one of"),
        ('name: "d"', 'name: "u"', "stands twice"),
        ('tag: "item" tag: "step"', 'tag: "user" tag: "step"', "is the second with tag 'user'"),
        (
            'type: INT annotation { tag: "timestamp" }',
            'type: FLOAT annotation { tag: "timestamp" }',
            "needs INT",
        ),
        ("feature {", "featur {", "not a tensorflow_metadata Schema"),
    ],
)
def test_a_broken_schema_is_refused_naming_file_and_feature(tmp_path, old, new, message):
    with pytest.raises(UserError, match=rf"(?s)test\.pbtxt.*({message})"):
        parse(tmp_path, VALID.replace(old, new))


def test_a_schema_without_labels_is_refused(tmp_path):
    text = "\n".join(line for line in VALID.splitlines() if "label" not in line)
    with pytest.raises(UserError, match="label:<task>"):
        parse(tmp_path, text)


def test_a_missing_schema_is_refused_with_an_example(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pbtxt.*data_schemas/"):
        read_schema(tmp_path / "absent.pbtxt")


COMPARATOR = (
    'name: "i" drift_comparator { %s } skew_comparator { jensen_shannon_divergence { threshold: 0.2 } }'
)


def test_presence_and_comparators_are_read(tmp_path):
    text = VALID.replace('name: "i"', COMPARATOR % "infinity_norm { threshold: 0.05 }")
    text = text.replace('name: "d"', 'name: "d" presence { min_fraction: 0.75 }')
    schema = parse(tmp_path, text)
    item = schema.feature("i")
    assert item.drift == Comparator(infinity_norm=pytest.approx(0.05))
    assert item.skew == Comparator(jensen_shannon=pytest.approx(0.2))
    assert schema.feature("p").drift is schema.feature("p").skew is None
    assert (schema.feature("d").min_fraction, schema.feature("d").required) == (0.75, False)


@pytest.mark.parametrize(
    ("comparator", "message"),
    [
        ("infinity_norm { threshold: 1.5 }", r"infinity_norm: threshold 1\.5"),
        ("normalized_abs_difference { threshold: 0.1 }", "drift_comparator needs infinity_norm or"),
        ("", "drift_comparator needs infinity_norm or"),
    ],
)
def test_a_comparator_that_cannot_be_used_is_refused(tmp_path, comparator, message):
    with pytest.raises(UserError, match=rf"feature 'i': .*{message}"):
        parse(tmp_path, VALID.replace('name: "i"', COMPARATOR % comparator))


@pytest.mark.parametrize(
    ("feature", "default", "expected"),
    [
        ("", "", {"d": "TSX", "y": "T"}),
        ('not_in_environment: "SERVING"', "", {"d": "T", "y": "T"}),
        ('in_environment: "SERVING"', "", {"d": "S", "y": "T"}),
        ("", 'default_environment: "TRAINING" default_environment: "SERVING"', {"d": "TS", "y": "TS"}),
        ('not_in_environment: "SERVING"', 'default_environment: "SERVING"', {"d": "", "y": "S"}),
        ('in_environment: "OTHER"', 'default_environment: "TRAINING"', {"d": "TX", "y": "T"}),
    ],
)
def test_environments_say_where_a_feature_is_expected(tmp_path, feature, default, expected):
    schema = parse(tmp_path, VALID.replace('name: "d"', f'name: "d" {feature}') + default)
    names = {"TRAINING": "T", "SERVING": "S", "OTHER": "X"}
    for name, letters in expected.items():
        there = (letter for env, letter in names.items() if schema.feature(name).expected_in(env))
        assert "".join(there) == letters
