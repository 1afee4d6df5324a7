"""What is checked: every rule with its severity and what to do about it. Imports nothing heavy.

`type` is the reason of the anomaly in tensorflow_metadata's `Anomalies` proto. `skew` and `drift` have
one by measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ERROR", "WARNING"]

_LOGS = "Look at the raw rows of the session, or change the schema and run ExampleGen again."
_STORED = "The Examples were changed or written by another program: run ExampleGen again."


@dataclass(frozen=True)
class Rule:
    """One check.

    Attributes:
        type: name of an `AnomalyInfo.Type`.
        severity: ERROR stops the run, WARNING is only reported; `data.validation.severity` replaces it.
        meaning: what is wrong where it fails, as the predicate of a sentence about the feature.
        remedy: what to do.
    """

    type: str
    severity: Severity
    meaning: str
    remedy: str


RULES: dict[str, Rule] = {
    "missing_feature": Rule("SCHEMA_MISSING_COLUMN", "ERROR", "is in no Example", _STORED),
    "new_feature": Rule(
        "SCHEMA_NEW_COLUMN", "WARNING", "is not in the schema", "Add it to the schema, or stop sending it."
    ),
    "type": Rule("UNEXPECTED_DATA_TYPE", "ERROR", "has values of another type", _STORED),
    "too_few_values": Rule("FEATURE_TYPE_LOW_NUMBER_VALUES", "ERROR", "has too few values", _STORED),
    "too_many_values": Rule("FEATURE_TYPE_HIGH_NUMBER_VALUES", "ERROR", "has too many values", _STORED),
    "missing_value": Rule("FEATURE_TYPE_NOT_PRESENT", "ERROR", "is required but missing", _LOGS),
    "low_presence": Rule(
        "FEATURE_TYPE_LOW_FRACTION_PRESENT",
        "ERROR",
        "has a value in fewer records than presence.min_fraction asks for",
        "Find out why it is missing, or lower presence.min_fraction in the schema.",
    ),
    "value_not_allowed": Rule(
        "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "ERROR", "has a value outside its string_domain", _LOGS
    ),
    "invalid_utf8": Rule("ENUM_TYPE_INVALID_UTF8", "ERROR", "has bytes that are no UTF-8 text", _LOGS),
    "number_too_small": Rule("FLOAT_TYPE_SMALL_FLOAT", "ERROR", "is below float_domain.min", _LOGS),
    "number_too_large": Rule("FLOAT_TYPE_BIG_FLOAT", "ERROR", "is above float_domain.max", _LOGS),
    "infinite": Rule("FLOAT_TYPE_HAS_INF", "ERROR", "is infinite", _LOGS),
    "bad_label": Rule("BOOL_TYPE_BIG_INT", "ERROR", "is neither 0 nor 1", _LOGS),
    "bad_timestamp": Rule("INT_TYPE_BIG_INT", "ERROR", "is no time in seconds between 1970 and 2100", _LOGS),
    "time_order": Rule("CUSTOM_VALIDATION", "ERROR", "goes back within a session", _STORED),
    "parent_label": Rule(
        "CUSTOM_VALIDATION",
        "ERROR",
        "is 1 where its parent task's label is 0",
        "Mend the labels, or remove the tag parent:<task> from the schema.",
    ),
    "lookahead": Rule(
        "CUSTOM_VALIDATION", "ERROR", "does not agree with the next window of the session", _STORED
    ),
    "session_twice": Rule("CUSTOM_VALIDATION", "ERROR", "stands twice in one split", _STORED),
    "session_in_two_splits": Rule("CUSTOM_VALIDATION", "ERROR", "is in two splits", _STORED),
    "skew": Rule(
        "COMPARATOR_L_INFTY_HIGH",
        "WARNING",
        "is distributed unlike the train split",
        "Look at what changed; raise skew_comparator in the schema where it may.",
    ),
    "drift": Rule(
        "COMPARATOR_L_INFTY_HIGH",
        "WARNING",
        "is distributed unlike before",
        "Look at what changed; raise drift_comparator in the schema where it may.",
    ),
}
