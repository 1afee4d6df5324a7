"""The transform graph: how raw values become model inputs, as plain data.

Fitted by `rmtl_tf.data.analyzers` on the train split, applied to columns by `rmtl_tf.features.apply`
and inside TensorFlow by `rmtl_tf.features.encoder`. On disk: `transform_graph.json` and, for each
categorical feature, `vocabulary/<feature>.txt` with one value per line in the order of the ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from rmtl_tf.errors import UserError
from rmtl_tf.features.ids import FIRST_ID as FIRST_ID
from rmtl_tf.features.ids import PADDING_ID as PADDING_ID
from rmtl_tf.features.ids import UNKNOWN_ID as UNKNOWN_ID
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.features.vocabulary import Vocabulary
from rmtl_tf.files import read_json, write_json
from rmtl_tf.schema import Task

RawType = Literal["string", "float", "int"]
RawValue = str | float | int

CLIP = 10.0
MISSING_TIMESTAMP = -1  # the second before 1970 stands for "no timestamp"

GRAPH_FILE = "transform_graph.json"
_VERSION = 1


@dataclass(frozen=True)
class Categorical:
    """A string as an id: the vocabulary's place + 2; 1 where it is missing (`""`) or unknown.

    With `buckets`, no value is unknown: those the vocabulary does not hold share `buckets` ids behind its
    own, by `rmtl_tf.features.fingerprint`.

    Attributes:
        vocabulary: known values, in the order of their ids. A value that is not UTF-8 holds its odd bytes as
            surrogates (`surrogateescape`).
        is_id: the feature identifies a user or an item.
        max_values: M, how many values a record has at most. Above 1 the raw input is a list of strings, empty
            ones being none, and there are M ids: those of the first M values, or 1 where there is none,
            then 0.
        buckets: ids that values outside the vocabulary share; 0: they are unknown.
    """

    kind: ClassVar[str] = "categorical"

    name: str
    vocabulary: Vocabulary
    is_id: bool = False
    max_values: int = 1
    buckets: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.vocabulary, Vocabulary):
            object.__setattr__(self, "vocabulary", Vocabulary(self.vocabulary))

    @property
    def size(self) -> int:
        return self.first_bucket + self.buckets

    @property
    def first_bucket(self) -> int:
        """The id of bucket 0, the first one behind the vocabulary."""
        return FIRST_ID + len(self.vocabulary)

    @property
    def raw(self) -> dict[str, RawType]:
        return {self.name: "string"}

    @property
    def defaults(self) -> dict[str, RawValue]:
        return {self.name: ""}


@dataclass(frozen=True)
class Numeric:
    """(g(x) - mean) / std, clipped to +-10, with g(x) = x, or sign(x) log(1 + |x|) where `log`.

    NaN and infinities count as missing.

    Attributes:
        mean, std: of g(x) on the train split; std is above 0.
        missing: the raw value that stands in for a missing one; None: a missing number becomes 0, the mean.
    """

    kind: ClassVar[str] = "numeric"

    name: str
    mean: float
    std: float
    log: bool = False
    missing: float | None = None

    @property
    def raw(self) -> dict[str, RawType]:
        return {self.name: "float"}

    @property
    def defaults(self) -> dict[str, RawValue]:
        return {self.name: float("nan") if self.missing is None else self.missing}


@dataclass(frozen=True)
class Rate:
    """(r - mean) / std, clipped to +-10, of r = (positive + prior * strength) / (known + strength).

    A count that is missing, not finite or negative is 0; `positive` is at most `known`.

    Attributes:
        positive, known: raw columns with the two counts.
        prior: the rate without evidence: the task's positive fraction in the train split.
        strength: pseudo-records the prior weighs, above 0.
        mean, std: of r on the train split; std is above 0.
    """

    kind: ClassVar[str] = "rate"

    name: str
    positive: str
    known: str
    prior: float
    strength: float
    mean: float
    std: float

    @property
    def raw(self) -> dict[str, RawType]:
        return {self.known: "float", self.positive: "float"}

    @property
    def defaults(self) -> dict[str, RawValue]:
        return {self.known: 0.0, self.positive: 0.0}


@dataclass(frozen=True)
class TimePart:
    """Hour of day or day of week (Monday 0) of a timestamp in seconds UTC: id 2 + part; 1 if missing.

    Days are counted on the proleptic calendar by floor division, so times before 1970 are right too; only
    -1 means missing.
    """

    kind: ClassVar[str] = "time"

    name: Literal["hour", "weekday"]
    source: str

    @property
    def size(self) -> int:
        return FIRST_ID + self.period

    @property
    def seconds(self) -> int:
        """Length of one part."""
        return 3_600 if self.name == "hour" else 86_400

    @property
    def period(self) -> int:
        """Number of parts before they repeat."""
        return 24 if self.name == "hour" else 7

    @property
    def shift(self) -> int:
        """The part at second 0: 1970 began at midnight of a Thursday."""
        return 0 if self.name == "hour" else 3

    @property
    def raw(self) -> dict[str, RawType]:
        return {self.source: "int"}

    @property
    def defaults(self) -> dict[str, RawValue]:
        return {self.source: MISSING_TIMESTAMP}


Encoded = Categorical | Numeric | Rate | TimePart


@dataclass(frozen=True)
class TransformGraph:
    """All model inputs of a data set, with what identifies them in raw and transformed Examples.

    Attributes:
        features: one entry per model input.
        tasks, labels: the tasks and the label column of each.
        timestamp: name of the timestamp column.

    Raises:
        UserError: two columns of the transformed Examples have the same name.
    """

    features: tuple[Encoded, ...]
    tasks: tuple[Task, ...]
    labels: tuple[str, ...]
    timestamp: str

    def __post_init__(self) -> None:
        names = ["session_id", "lookahead", self.timestamp, *self.labels, *(f.name for f in self.features)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(
                f"transform: expected every column once, received two named {twice[0]!r}. Rename the column "
                "in schema and data, or leave the derived one out (transform.time, data.feedback)."
            )

    @property
    def raw(self) -> dict[str, RawType]:
        """Raw input name -> type, as the serving signature takes them; of a list, of its values."""
        return {name: kind for feature in self.features for name, kind in feature.raw.items()}

    @property
    def defaults(self) -> dict[str, RawValue]:
        """Raw input name -> the value that means missing."""
        return {name: value for feature in self.features for name, value in feature.defaults.items()}

    @property
    def several(self) -> dict[str, int]:
        """Raw inputs that are lists -> the most values M that count."""
        return {
            f.name: f.max_values for f in self.features if isinstance(f, Categorical) and f.max_values > 1
        }

    def input_spec(self) -> InputSpec:
        """What a backbone reads: ids (time parts included) and scaled numbers (rates included)."""
        return InputSpec(
            categorical=tuple(
                (f.name, f.size) for f in self.features if isinstance(f, Categorical | TimePart)
            ),
            numeric=tuple(f.name for f in self.features if isinstance(f, Numeric | Rate)),
            ids=tuple(f.name for f in self.features if isinstance(f, Categorical) and f.is_id),
            several=tuple(self.several.items()),
        )

    def save(self, directory: str | Path) -> None:
        """Writes the graph into `directory`.

        Raises:
            UserError: a vocabulary value is empty or holds a line break, which a file of lines cannot carry.
        """
        directory = Path(directory)
        (directory / "vocabulary").mkdir(parents=True, exist_ok=True)
        for feature in self.features:
            if isinstance(feature, Categorical):
                vocabulary_path(directory, feature.name).write_bytes(
                    feature.vocabulary.to_lines(feature.name)
                )
        write_json(
            directory / GRAPH_FILE,
            {
                "version": _VERSION,
                "features": [_describe(feature) for feature in self.features],
                "tasks": [asdict(task) for task in self.tasks],
                "labels": list(self.labels),
                "timestamp": self.timestamp,
            },
        )

    @classmethod
    def load(cls, directory: str | Path) -> TransformGraph:
        """Reads what `save` wrote.

        Raises:
            UserError: a file is missing, cut short, or was not written by `save`.
        """
        directory = Path(directory)
        try:
            values = read_json(directory / GRAPH_FILE)
            if values["version"] != _VERSION:
                raise ValueError(f"format version {values['version']}, not {_VERSION}")
            return cls(
                features=tuple(_restore(entry, directory) for entry in values["features"]),
                tasks=tuple(Task(**task) for task in values["tasks"]),
                labels=tuple(values["labels"]),
                timestamp=values["timestamp"],
            )
        except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"transform graph {directory}: expected what the Transform component writes, but it cannot "
                f"be read ({type(error).__name__}: {error}). Run the pipeline again."
            ) from None


def vocabulary_path(directory: str | Path, feature: str) -> Path:
    """The vocabulary file of a categorical feature in a saved graph."""
    return Path(directory) / "vocabulary" / f"{quote(feature, safe='')}.txt"


def facts(feature: Encoded) -> dict[str, Any]:
    """Everything that says how the feature is encoded, as plain data."""
    values = _fields(feature)
    if isinstance(feature, Categorical):
        values["vocabulary"] = list(feature.vocabulary)
    return values


def _fields(feature: Encoded) -> dict[str, Any]:
    values = {part.name: getattr(feature, part.name) for part in fields(feature)}
    if not values.get("buckets", True):
        del values["buckets"]  # what does not hash is described, and digested, as before there was hashing
    return values


def _describe(feature: Encoded) -> dict[str, Any]:
    values = {"kind": feature.kind, **_fields(feature)}
    if isinstance(feature, Categorical):
        values["vocabulary"] = len(feature.vocabulary)
    return values


def _restore(values: Mapping[str, Any], directory: Path) -> Encoded:
    kinds: dict[str, type[Encoded]] = {kind.kind: kind for kind in (Categorical, Numeric, Rate, TimePart)}
    given = {key: value for key, value in values.items() if key != "kind"}
    if values["kind"] == Categorical.kind:
        vocabulary = Vocabulary.from_lines(vocabulary_path(directory, values["name"]).read_bytes())
        if len(vocabulary) != values["vocabulary"]:
            raise ValueError(
                f"{values['vocabulary']} values of {values['name']!r} expected, {len(vocabulary)} found"
            )
        given["vocabulary"] = vocabulary
    return kinds[values["kind"]](**given)
