"""Categorical features with several values a record: how they are split, and how Examples hold them.

An Example holds such a feature as the values of all its records end to end, and `<name>#lengths`, the
number of values of each record (DESIGN 4). In flat columns it is a list per record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def lengths_name(feature: str) -> str:
    """The list beside a feature that says how many values each record has."""
    return f"{feature}#lengths"


def split_values(text: pl.Expr, separator: str, most: int | None = None) -> pl.Expr:
    """A string -> the list of its values, the first `most`; blanks around them and empty ones are dropped.

    A missing string has no values.
    """
    import polars as pl

    values = text.fill_null("").str.split(separator).list.eval(pl.element().str.strip_chars())
    values = values.list.filter(pl.element() != "")
    return values if most is None else values.list.head(most)
