"""A first draft of a data schema from a sample of a table, with a comment wherever a person must decide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from rmtl_tf.data.column_guess import (
    Profile,
    auc,
    best_role,
    best_time,
    constant_in,
    parent_of,
)
from rmtl_tf.data.time_units import UNITS
from rmtl_tf.errors import UserError

ROWS = 200_000
_TELLTALE = 0.9  # AUC of one feature alone at which it is probably an outcome
_DOMAIN = 10  # distinct strings that are shown as a possible domain
_CODES = 2_000  # fewer distinct whole numbers than this may be codes
_OF_THE_TIME = {"date", "day", "hour", "hourmin", "weekday", "dow", "month"}


@dataclass
class _Draft:
    lines: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)

    def decide(self, text: str) -> None:
        self.decisions.append(text)


def draft_schema(path: Path, rows: int = ROWS) -> str:
    """The text of a schema file for a CSV or Parquet table whose rows are records.

    It names roles, types, bounds, several values and parents as they seem from the first `rows` rows; what to
    decide stands in numbered comments at the top. It parses once the decisions that say so are made.

    Raises:
        UserError: the file cannot be read as a table, or has no rows.
    """
    sample = _read(path, rows)
    profiles = [Profile.of(name, sample[name]) for name in sample.columns]
    draft = _Draft()
    roles = _roles(profiles, draft)
    groups = roles.get("session") or roles.get("user")
    labels = _labels(profiles, roles, groups)
    for profile in profiles:
        _describe(profile, roles, labels, groups, draft)
    _describe_labels(labels, draft)
    head = [
        f"# Drafted from {sample.height:,} rows of {path.name}. A row is taken for a record: an item shown",
        "# to a user. If rows are events (a view, later a purchase), they need a reader: docs/data.md.",
        "# Decide:",
        *(_numbered(number, text) for number, text in enumerate(draft.decisions, 1)),
        "",
    ]
    return "\n".join(
        [*head, *draft.lines, 'default_environment: "TRAINING"', 'default_environment: "SERVING"', ""]
    )


def _numbered(number: int, text: str) -> str:
    first, later = f"#  {number}. ", "#     "
    return textwrap.fill(text, 108, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def _read(path: Path, rows: int) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            sample = pl.scan_parquet(path).head(rows).collect()
            lists = [name for name, dtype in sample.schema.items() if dtype.is_nested()]
            sample = sample.with_columns(pl.col(lists).cast(pl.List(pl.String)).list.join("|"))
        else:
            sample = pl.read_csv(path, infer_schema=False, n_rows=rows)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(
            f"{path}: cannot be read as a CSV or Parquet table ({error}). Give one with a header."
        ) from None
    if not sample.height:
        raise UserError(f"{path}: has no rows after its header. Give a sample with some thousand.")
    return sample


def _roles(profiles: Sequence[Profile], draft: _Draft) -> dict[str, Profile]:
    """The columns of the roles that were found; a decision for each that was not."""
    found = {role: best_role(profiles, role) for role in ("session", "user", "item")}
    found["timestamp"] = best_time(profiles)
    roles = {role: profile for role, profile in found.items() if profile is not None}
    if "timestamp" not in roles:
        draft.decide(
            "No column holds times since 1970 (s, ms, us or ns). Convert one, and tag it: type: INT, "
            'tag: "timestamp".'
        )
    if not {"session", "user"} & set(roles):
        draft.decide('No column seems to name users or sessions. Tag one: "user" (or "session").')
    if "item" not in roles:
        draft.decide('No column seems to name items. Tag one "item", unless the logs name none.')
    if "session" not in roles:
        draft.decide("No session column: sessions are made from user and time, data.session: {by: gap}.")
    for role in ("session", "user", "item"):
        if role in roles:
            draft.decide(f"Is {roles[role].name} the {role}? It was guessed from the name.")
    return roles


def _labels(profiles: Sequence[Profile], roles: dict[str, Profile], groups: Profile | None) -> list[Profile]:
    """Columns of 0 and 1 that differ within sessions (or users), by falling frequency: parents come first."""
    taken = {profile.name for profile in roles.values()}
    labels = [
        profile
        for profile in profiles
        if profile.is_binary
        and profile.name not in taken
        and not (groups is not None and constant_in(groups.text, profile.text))
    ]
    return sorted(labels, key=lambda profile: -_ones(profile).sum())


def _ones(profile: Profile) -> np.ndarray:
    assert profile.number is not None
    return profile.number == 1


def _describe(
    profile: Profile, roles: dict[str, Profile], labels: list[Profile], groups: Profile | None, draft: _Draft
) -> None:
    """Adds the line of one column that is no label."""
    role = next((role for role, chosen in roles.items() if chosen.name == profile.name), None)
    if profile in labels:
        return
    if role == "timestamp":
        unit = UNITS[profile.per_second or 1]
        tags = ["timestamp", *([] if unit == "s" else [f"unit:{unit}"])]
        draft.lines.append(_feature(profile.name, "INT", tags, "presence { min_fraction: 1 }"))
        return
    if role is not None:
        tags = {"session": ["session"], "user": ["user", "context"], "item": ["item", "step"]}[role]
        draft.lines.append(_feature(profile.name, "BYTES", tags, "presence { min_fraction: 1 }"))
        return
    if profile.given == 0 or profile.distinct == 1:
        what = "empty" if profile.given == 0 else f"always {profile.text.drop_nulls()[0]!r}"
        draft.lines.append(f"# {profile.name}: {what} in the sample, left out")
        return
    if "timestamp" in roles and len(profile.words) == 1 and profile.words[0] in _OF_THE_TIME:
        draft.lines.append(
            f"# {profile.name}: left out, hour and weekday come from the time (transform.time)"
        )
        return
    place = "context" if groups is not None and constant_in(groups.text, profile.text) else "step"
    _warn_of_outcome(profile, labels, draft)
    if profile.is_quantity:
        low = "" if profile.is_negative else "float_domain { min: 0 }"
        tags = [place, "log"] if profile.is_heavy_tailed else [place]
        draft.lines.append(_feature(profile.name, "FLOAT", tags, low))
        if profile.is_whole and profile.distinct < _CODES:
            draft.lines.append(
                "#   if these whole numbers are codes, not amounts: type: BYTES, no float_domain"
            )
        return
    several = profile.separator()
    if several is not None:
        separator, most = several
        draft.decide(
            f"Does {profile.name} hold several values between {separator!r}, {most} at most? The first M of "
            "value_count are kept."
        )
        tags = [place, f"split:{separator}"]
        draft.lines.append(_feature(profile.name, "BYTES", tags, f"value_count {{ max: {most} }}"))
        return
    draft.lines.append(_feature(profile.name, "BYTES", [place]))
    if profile.distinct <= _DOMAIN:
        values = " ".join(f"value: {_quoted(value)}" for value in profile.text.drop_nulls().unique().sort())
        draft.lines.append(f"#   to refuse other values add: string_domain {{ {values} }}")


def _warn_of_outcome(profile: Profile, labels: list[Profile], draft: _Draft) -> None:
    """A decision where a number alone tells a label: it may be known only afterwards."""
    if profile.number is None:
        return
    scores = np.nan_to_num(profile.number, nan=np.nanmin(profile.number))
    for label in labels:
        found = auc(scores, _ones(label))
        if found >= _TELLTALE:
            draft.decide(
                f"Is {profile.name} known before the record is shown? Alone it tells {label.name} with AUC "
                f"{found:.3f}; remove what is known only afterwards."
            )
            return


def _describe_labels(labels: list[Profile], draft: _Draft) -> None:
    if not labels:
        draft.decide(
            "No column of 0 and 1 was found, and a schema needs one: add feature { name: ... type: INT "
            'annotation { tag: "label:<task>" } }.'
        )
        return
    draft.lines.append("")
    names = ", ".join(label.name for label in labels)
    draft.decide(
        f"Which of {names} are tasks? Remove the others; none of them may be an input, as they are known "
        "only after the record."
    )
    for place, label in enumerate(labels):
        above = [(other.name, _ones(other)) for other in labels[:place]]
        parent = parent_of(_ones(label), above)
        tags = [f"label:{label.name}"]
        note = f"#   {_ones(label).mean():.2%} are 1"
        if parent is not None:
            tags.append(f"parent:{parent}")
            note += f", all of them with {parent}: is that by nature? Else remove the parent"
        draft.lines.append(_feature(label.name, "INT", tags, 'not_in_environment: "SERVING"'))
        draft.lines.append(note)


def _feature(name: str, kind: str, tags: Sequence[str], extra: str = "") -> str:
    tagged = " ".join(f"tag: {_quoted(tag)}" for tag in tags)
    parts = [f"name: {_quoted(name)}", f"type: {kind}", extra, f"annotation {{ {tagged} }}"]
    return f"feature {{ {' '.join(part for part in parts if part)} }}"


def _quoted(text: str) -> str:
    """A string of the text format of protocol buffers."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
