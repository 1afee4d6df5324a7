"""What a column of a raw table probably is, guessed from its name and its values: to draft a schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rmtl_tf.data.time_units import BEFORE, SINCE, UNITS

# Words of a name, in the order in which they speak for the role.
ROLE_WORDS = {
    "session": ("session", "sessionid", "visit", "search", "impression", "request"),
    "user": ("user", "uid", "visitor", "visitorid", "person", "customer", "member", "viewer", "client"),
    "item": (
        *("item", "itemid", "product", "video", "content", "article", "movie", "photo", "goods"),
        *("sku", "song", "track", "book", "document", "news", "ad", "offer"),
    ),
}
TIME_WORDS = ("timestamp", "time", "datetime", "ts", "date")
IDENTITY_WORDS = ("id", "uid", "sku", "key", "hash", "code", "no")

_SEPARATORS = (",", "|", ";", " ")
_ONE_VALUE = r"[\[\](){}]|^\d{1,3}(,\d{3})+(\.\d+)?$"
_MULTI_SHARE = 0.01  # of the values hold a separator
_FEW = 12  # distinct values that still look like a category


@dataclass(frozen=True, eq=False)
class Profile:
    """A column of a sample.

    Attributes:
        name: as in the file.
        words: of the name, in lower case.
        text: the values as strings, null where missing.
        number: them as numbers, float64 [N], NaN where missing; None if one of them is no number.
    """

    name: str
    words: tuple[str, ...]
    text: pl.Series
    number: np.ndarray | None

    @classmethod
    def of(cls, name: str, values: pl.Series) -> Profile:
        text = values.cast(pl.String).str.strip_chars()
        text = text.set(text == "", None)
        number = text.cast(pl.Float64, strict=False)
        complete = number.null_count() == text.null_count() < len(text)
        return cls(name, words_of(name), text, number.fill_null(np.nan).to_numpy() if complete else None)

    @property
    def given(self) -> int:
        """How many values there are."""
        return len(self.text) - self.text.null_count()

    @property
    def distinct(self) -> int:
        return self.text.drop_nulls().n_unique()

    @property
    def is_binary(self) -> bool:
        """0 and 1, both of them, and nothing else."""
        return self.number is not None and set(np.unique(self.number).tolist()) == {0.0, 1.0}

    @property
    def is_whole(self) -> bool:
        """Whole numbers, some perhaps missing."""
        return self.number is not None and bool((self.number[~np.isnan(self.number)] % 1 == 0).all())

    @property
    def is_negative(self) -> bool:
        """A number that can lie below 0."""
        return self.number is not None and bool(np.nanmin(self.number) < 0)

    @property
    def per_second(self) -> int | None:
        """Ticks a second, where the values are times since 1970 and nothing is missing."""
        if self.number is None or not self.is_whole or np.isnan(self.number).any():
            return None
        low, high = self.number.min(), self.number.max()
        fits = (ticks for ticks in UNITS if SINCE * ticks <= low and high < BEFORE * ticks)
        return next(fits, None)

    @property
    def is_identity(self) -> bool:
        """Named as an identifier."""
        return any(word in IDENTITY_WORDS for word in self.words)

    @property
    def is_quantity(self) -> bool:
        """A number to calculate with: not an identifier, and more values than a category has."""
        return self.number is not None and not self.is_identity and self.distinct > _FEW

    @property
    def is_heavy_tailed(self) -> bool:
        """Never negative, and its largest hundredth is far above its middle."""
        if self.number is None or self.is_negative:
            return False
        middle, high = np.nanquantile(self.number, [0.5, 0.99])
        return bool(high > 10 * max(middle, 1e-9))

    def separator(self) -> tuple[str, int] | None:
        """What divides several values, and the most values seen; None where a value is one.

        The parts must come again more often than the wholes do. Ranges as [10,100) and numbers as 1,000 are
        one.
        """
        values = self.text.drop_nulls()
        if self.number is not None or values.is_empty() or values.str.contains(_ONE_VALUE).any():
            return None
        for separator in _SEPARATORS:
            parts = values.str.split(separator)
            several = parts.list.len() > 1
            if several.sum() < _MULTI_SHARE * len(values):
                continue
            single = parts.explode().str.strip_chars()
            if single.n_unique() * len(values) <= values.n_unique() * len(single):
                return separator, max(parts.list.len().to_list())
        return None


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name: `videoId`, `video_id` and `VIDEO-ID` are (video, id)."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return tuple(word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word)


def best_role(profiles: Sequence[Profile], role: str) -> Profile | None:
    """The column whose name speaks most for a role: by the order of `ROLE_WORDS`, then for an `id` in it."""
    ranked = []
    for place, profile in enumerate(profiles):
        ranks = [i for i, word in enumerate(ROLE_WORDS[role]) if word in profile.words]
        # A count or a flag about users is no user: only short names, or those that end as an identifier.
        if ranks and (len(profile.words) == 1 or profile.words[-1] in IDENTITY_WORDS):
            ranked.append((ranks[0], not profile.is_identity, len(profile.words), place, profile))
    return min(ranked, key=lambda entry: entry[:4])[4] if ranked else None


def best_time(profiles: Sequence[Profile]) -> Profile | None:
    """The column of times since 1970, by its values first and its name second."""
    ranked = []
    for place, profile in enumerate(profiles):
        if profile.per_second is not None and not profile.is_identity:
            named = [i for i, word in enumerate(TIME_WORDS) if word in profile.words]
            ranked.append((not named, named[0] if named else 0, place, profile))
    return min(ranked, key=lambda entry: entry[:3])[3] if ranked else None


def parent_of(label: np.ndarray, others: Sequence[tuple[str, np.ndarray]]) -> str | None:
    """The rarest of `others` (name, 0/1 [N]) that is more frequent than `label` and 1 wherever it is."""
    above = [
        (ones.sum(), name) for name, ones in others if ones.sum() > label.sum() and ones[label == 1].all()
    ]
    return min(above)[1] if above else None


def constant_in(groups: pl.Series, values: pl.Series) -> bool:
    """Whether nearly all groups of two rows or more have a single value."""
    frame = pl.DataFrame({"group": groups, "value": values}).drop_nulls("group")
    counts = frame.group_by("group").agg(pl.len(), pl.col("value").drop_nulls().n_unique().alias("n"))
    counts = counts.filter(pl.col("len") > 1)
    return bool(counts.height) and (counts["n"] <= 1).sum() > 0.99 * counts.height


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve of scores [N] for labels [N], ties counted half; at least 0.5 by direction."""
    from scipy.stats import rankdata

    ones = int(labels.sum())
    if ones in (0, len(labels)):
        return 0.5
    ranks = rankdata(scores)
    value = (ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones))
    return float(max(value, 1 - value))
