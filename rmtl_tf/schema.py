"""Data schemas: `data_schemas/<name>.pbtxt`, tensorflow_metadata `Schema` protos with roles.

A role is an `annotation.tag` of a feature:

- `session`, `user`, `item`, `timestamp` (since 1970, UTC, in seconds or what `unit:ms|us|ns` says): at most
  one feature each; the timestamp and one of user and session must be there;
- `context`: one value per session; `step`: one value per record (a user is context, an item is step);
- `label:<task>`: 0 or 1 per record; `parent:<task>`: this task can only happen after that one.

A feature's type says how the model reads it: BYTES is categorical, FLOAT is numeric; INT is for
labels and the timestamp (identifiers that happen to be numbers are categorical: BYTES). The tag
`log` marks a heavy-tailed non-negative number. `presence.min_fraction: 1` makes a value required;
`float_domain` bounds a number, `string_domain` lists the only allowed values.

What data validation reads (docs/validation.md): a `presence.min_fraction` below 1; `drift_comparator` and
`skew_comparator` with thresholds; `default_environment`, `in_environment` and `not_in_environment`.

A categorical feature with several values has `value_count { max: M }`, the most that are kept, and a tag
`split:<character>` with what stands between them in the raw files (`split:,`, `split: ` for blanks).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rmtl_tf.errors import UserError
from rmtl_tf.places import place

Kind = Literal["categorical", "numeric", "label", "timestamp", "key"]

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


TRAINING, SERVING = "TRAINING", "SERVING"


@dataclass(frozen=True)
class Comparator:
    """How far two distributions of a feature may lie apart; None: not compared by this measure.

    Attributes:
        infinity_norm: the largest difference of a value's shares, 0 to 1.
        jensen_shannon: the Jensen-Shannon divergence in bits, 0 to 1.
    """

    infinity_norm: float | None = None
    jensen_shannon: float | None = None


@dataclass(frozen=True)
class Feature:
    """One column of the records.

    Attributes:
        name: column name in the records, in the session Examples and in the serving signature.
        kind: `categorical`, `numeric`, `label`, `timestamp`, or `key` (a session id: never a model input).
        context: True for one value per session, False for one value per record.
        required: a record without it goes to quarantine.
        low, high: bounds of a number, inclusive; None where open.
        values: the only allowed values of a categorical feature; empty for any.
        log: model log(1 + x) rather than x.
        min_fraction: the least share of a split's records that have a value.
        drift: allowed distance to an earlier data set; None: any.
        skew: allowed distance of validation, test and serving data to the train split; None: any.
        environments: where the feature is expected; None: everywhere.
        max_values: how many values a record has at most; 1 for an ordinary feature.
        separator: the character between several values in raw files; empty for an ordinary feature.
        per_second: ticks a second of a raw timestamp.
    """

    name: str
    kind: Kind
    context: bool = False
    required: bool = False
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    log: bool = False
    min_fraction: float = 0.0
    drift: Comparator | None = None
    skew: Comparator | None = None
    environments: tuple[str, ...] | None = None

    def expected_in(self, environment: str) -> bool:
        """Whether data of this environment should have the feature."""
        return self.environments is None or environment in self.environments

    max_values: int = 1
    separator: str = ""
    per_second: int = 1

    @property
    def multivalued(self) -> bool:
        return bool(self.separator)


@dataclass(frozen=True)
class Task:
    """A behaviour to predict: `name`, and the task it presupposes (`parent`), if any."""

    name: str
    parent: str | None = None


@dataclass(frozen=True)
class DataSchema:
    """The features and tasks of a data set, in schema order. Tasks are named as their label's tag says.

    Attributes:
        labels: label column of each task, in the order of `tasks`.
        user: column that identifies users; None where the logs name none (then `session` is there).
        item: column that identifies items; None where the logs name none.
        session: session column; None where sessions are made from `user` and an inactivity gap.
    """

    features: tuple[Feature, ...]
    tasks: tuple[Task, ...]
    labels: tuple[str, ...]
    user: str | None
    item: str | None
    timestamp: str
    session: str | None = None

    @property
    def inputs(self) -> tuple[Feature, ...]:
        """The features a model may read (categorical and numeric), in schema order."""
        return tuple(f for f in self.features if f.kind in ("categorical", "numeric"))

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.tasks)

    def feature(self, name: str) -> Feature:
        for f in self.features:
            if f.name == name:
                return f
        raise KeyError(name)


def read_schema(path: str | Path) -> DataSchema:
    """Reads and checks a schema file.

    Raises:
        UserError: the file is missing or is no `Schema` text proto, a role is missing, given twice
            or unknown, or a type does not fit its role. The message names file and feature.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    path = place(path)
    try:
        proto = text_format.Parse(path.read_text(encoding="utf-8"), schema_pb2.Schema())
    except OSError as error:
        raise UserError(
            f"schema {path}: cannot be read ({error.strerror}). Give a file as data_schemas/simulator.pbtxt."
        ) from None
    except text_format.ParseError as error:
        raise UserError(f"schema {path}: not a tensorflow_metadata Schema in text form: {error}") from None
    return from_proto(proto, str(path))


def from_proto(proto, origin: str = "schema") -> DataSchema:
    """A `DataSchema` from a tensorflow_metadata `Schema` proto; `origin` names it in errors."""
    reader = _ProtoReader(origin, tuple(proto.default_environment))
    for feature in proto.feature:
        reader.add(feature)
    return reader.finish()


class _ProtoReader:
    """Collects features and roles, one proto feature at a time."""

    _ROLES = ("session", "user", "item", "timestamp", "context", "step", "log")

    def __init__(self, origin: str, default_environments: tuple[str, ...] = ()) -> None:
        self.origin = origin
        self.default_environments = default_environments
        self.features: list[Feature] = []
        self.roles: dict[str, str] = {}
        self.labels: list[tuple[Task, str]] = []

    def fail(self, name: str, problem: str) -> UserError:
        return UserError(f"schema {self.origin}, feature {name!r}: {problem}")

    def add(self, proto) -> None:
        from tensorflow_metadata.proto.v0 import schema_pb2

        name, tags = proto.name, set(proto.annotation.tag)
        if any(f.name == name for f in self.features):
            raise self.fail(name, "stands twice. Remove one.")
        task = parent = None
        separator, per_second = "", 1
        for tag in sorted(tags):
            key, _, value = tag.partition(":")
            if key == "label" and value:
                task = value
            elif key == "parent" and value:
                parent = value
            elif key == "split" and len(value) == 1:
                separator = value
            elif key == "unit" and value in _PER_SECOND:
                per_second = _PER_SECOND[value]
            elif tag not in self._ROLES:
                known = [*self._ROLES, "label:<task>", "parent:<task>"]
                known += ["split:<character>", f"unit:{'|'.join(_PER_SECOND)}"]
                raise self.fail(name, f"unknown tag {tag!r}; known: {', '.join(known)}.")
        for role in ("session", "user", "item", "timestamp"):
            if role in tags:
                if role in self.roles:
                    raise self.fail(name, f"is the second with tag {role!r} (first: {self.roles[role]!r}).")
                self.roles[role] = name
        type_name = schema_pb2.FeatureType.Name(proto.type)
        kind: Kind
        if task is not None:
            kind, wanted = "label", "INT"
            self.labels.append((Task(task, parent), name))
        elif "timestamp" in tags:
            kind, wanted = "timestamp", "INT"
        elif "session" in tags:
            kind, wanted = "key", "BYTES"
        elif type_name == "FLOAT":
            kind, wanted = "numeric", "FLOAT"
        else:
            kind, wanted = "categorical", "BYTES"
        if type_name != wanted:
            raise self.fail(name, f"type is {type_name}, but its role needs {wanted}.")
        if kind in ("categorical", "numeric") and len(tags & {"context", "step"}) != 1:
            raise self.fail(
                name, "needs exactly one of the tags 'context' (per session), 'step' (per record)."
            )
        if separator and (kind != "categorical" or tags & {"user", "item"}):
            raise self.fail(name, "only a categorical feature (no user, no item) can have several values.")
        several = proto.value_count.max > 1
        if several != bool(separator):
            raise self.fail(
                name,
                "several values need value_count { max: M }, M > 1, and a tag split:<character>.",
            )
        if per_second != 1 and kind != "timestamp":
            raise self.fail(name, "the tag 'unit' is for the timestamp.")
        domain = proto.float_domain if proto.HasField("float_domain") else None
        self.features.append(
            Feature(
                name=name,
                kind=kind,
                context="context" in tags or kind == "key",
                required=proto.presence.min_fraction >= 1
                or kind in ("label", "timestamp", "key")
                or bool(tags & {"user", "item"}),
                low=domain.min if domain is not None and domain.HasField("min") else None,
                high=domain.max if domain is not None and domain.HasField("max") else None,
                values=tuple(proto.string_domain.value),
                log="log" in tags,
                min_fraction=proto.presence.min_fraction,
                drift=self._comparator(proto, "drift_comparator"),
                skew=self._comparator(proto, "skew_comparator"),
                environments=self._environments(proto, kind),
                max_values=proto.value_count.max if several else 1,
                separator=separator,
                per_second=per_second,
            )
        )

    def _comparator(self, proto, field: str) -> Comparator | None:
        if not proto.HasField(field):
            return None
        comparator = getattr(proto, field)
        norms = {
            name: getattr(comparator, name).threshold
            for name in ("infinity_norm", "jensen_shannon_divergence")
            if comparator.HasField(name)
        }
        if comparator.HasField("normalized_abs_difference") or not norms:
            raise self.fail(
                proto.name, f"{field} needs infinity_norm or jensen_shannon_divergence, and nothing else."
            )
        for name, threshold in norms.items():
            if not 0 <= threshold <= 1:
                raise self.fail(proto.name, f"{field}.{name}: threshold {threshold} is not between 0 and 1.")
        return Comparator(norms.get("infinity_norm"), norms.get("jensen_shannon_divergence"))

    def _environments(self, proto, kind: Kind) -> tuple[str, ...] | None:
        """Environments as TFDV has them; a label that nothing is said about is there in training alone."""
        absent, present = set(proto.not_in_environment), tuple(proto.in_environment)
        if not (absent or present or self.default_environments):
            return (TRAINING,) if kind == "label" else None
        default = self.default_environments or (() if present else (TRAINING, SERVING))
        return tuple(name for name in dict.fromkeys((*default, *present)) if name not in absent)

    def finish(self) -> DataSchema:
        if "timestamp" not in self.roles:
            raise UserError(f"schema {self.origin}: no feature has the tag 'timestamp'. Tag one.")
        if not {"user", "session"} & set(self.roles):
            raise UserError(
                f"schema {self.origin}: no feature has the tag 'user', none the tag 'session'. Tag one: "
                "sessions are the logs' own or made from a user's times."
            )
        if not self.labels:
            raise UserError(f"schema {self.origin}: no feature has a tag 'label:<task>'. Tag at least one.")
        names = [task.name for task, _ in self.labels]
        for task, feature in self.labels:
            if names.count(task.name) > 1:
                raise self.fail(feature, f"task {task.name!r} has two labels.")
            if task.parent is not None and task.parent not in names[: names.index(task.name)]:
                raise self.fail(feature, f"parent task {task.parent!r} must be a label that stands above it.")
        return DataSchema(
            features=tuple(self.features),
            tasks=tuple(task for task, _ in self.labels),
            labels=tuple(feature for _, feature in self.labels),
            user=self.roles.get("user"),
            item=self.roles.get("item"),
            timestamp=self.roles["timestamp"],
            session=self.roles.get("session"),
        )
