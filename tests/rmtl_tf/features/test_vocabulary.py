from __future__ import annotations

import pickle

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.errors import UserError
from rmtl_tf.features.vocabulary import Vocabulary, decode_value, encode_value

LINE = st.binary(min_size=1, max_size=5).filter(lambda value: not {10, 13} & set(value))


@given(st.lists(LINE, unique=True), st.data())
def test_it_is_what_a_tuple_of_strings_is(values, draw):
    strings = tuple(decode_value(value) for value in values)
    vocabulary = Vocabulary(strings)
    assert vocabulary == strings
    assert (len(vocabulary), tuple(vocabulary), bool(vocabulary)) == (len(strings), strings, bool(strings))
    assert vocabulary.values.to_pylist() == values
    part = slice(*sorted(draw.draw(st.tuples(st.integers(0, 6), st.integers(0, 6)))))
    assert vocabulary[part] == strings[part]
    assert vocabulary != (*strings, "more")
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary
    assert hash(Vocabulary(strings)) == hash(vocabulary)


@given(st.lists(LINE, unique=True), st.integers(0, 3))
def test_its_file_has_a_line_for_each_value(values, left_out):
    vocabulary = Vocabulary(pa.array(values, pa.large_binary())[left_out:])
    lines = vocabulary.to_lines("f")
    assert lines == b"".join(value + b"\n" for value in values[left_out:])
    assert Vocabulary.from_lines(lines) == vocabulary


def test_other_line_separators_end_no_line_and_a_torn_last_line_is_left_out():
    assert Vocabulary.from_lines("a\u2028b\nc\x0c\ntorn".encode()) == ("a\u2028b", "c\x0c")
    assert Vocabulary.from_lines(b"") == ()


@pytest.mark.parametrize("wrong", ["", "a\nb", "a\rb"])
def test_a_value_that_is_no_line_is_named(wrong):
    with pytest.raises(UserError, match=f"feature 'f'.*received {wrong!r}".replace("\\", "\\\\")):
        Vocabulary(["good", wrong]).to_lines("f")


def test_a_value_that_is_not_utf8_comes_back():
    assert encode_value(Vocabulary(pa.array([b"\xfe"], pa.large_binary()))[0]) == b"\xfe"
