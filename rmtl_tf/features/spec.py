"""What a model reads: names and sizes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rmtl_tf.errors import UserError
from rmtl_tf.features.compression import Compression, Layout

# What is known of an earlier record's label by now; 0 is padding.
UNKNOWN_YET, NEGATIVE, POSITIVE = 1, 2, 3


@dataclass(frozen=True)
class HistoryTask:
    """A task whose label becomes known inside the session.

    Attributes:
        name: the task.
        label: its label column.
        delay: whole seconds until the label is known.
    """

    name: str
    label: str
    delay: int


@dataclass(frozen=True)
class HistorySpec:
    """The records of the session before this one, as inputs: `history/<name>` [N, H], oldest first.

    The newest stands last, fewer than H records leave padding (0) in front. A record counts as earlier if
    its timestamp is strictly smaller. Made by `rmtl_tf.data.history.history_spec`.

    Attributes:
        encoder: how they become one field of the state: "mean", "gru" or "attention".
        length: H, the most records that are looked at.
        heads: of the attention; 1 for the other encoders.
        item: the input that every record has: where it is 0 there is no record.
        inputs: the inputs of a record that its history has too, `item` among them; the others belong to
            the session as a whole or are derived.
        tasks: with an input int32 each of what is known of a record's label by now: 0 padding, 1 not
            known yet, 2 known and not positive, 3 known and positive.
    """

    encoder: str
    length: int
    heads: int
    item: str
    inputs: tuple[str, ...]
    tasks: tuple[HistoryTask, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs, then the tasks; none stands twice."""
        return (*self.inputs, *(task.name for task in self.tasks))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HistorySpec:
        tasks = tuple(HistoryTask(**task) for task in config["tasks"])
        return cls(**{**config, "inputs": tuple(config["inputs"]), "tasks": tasks})


def history_input(name: str) -> str:
    """The model's input with the history of an input or a task."""
    return f"history/{name}"


def history_list(name: str) -> str:
    """The same in a request: a list of raw values, or of what is known of a task's labels."""
    return f"history_{name}"


@dataclass(frozen=True)
class InputSpec:
    """The inputs of a backbone: a dict of [N] tensors, one entry for each name here.

    Attributes:
        categorical: (name, number of ids) of each id input, int32 [N]. Id 0 is padding, 1 unknown.
        numeric: name of each float32 [N] input, standardised.
        ids: the categorical inputs that identify a user or an item; id dropout applies to them.
        history: the [N, H] inputs beside them; None: the state does not look back.
        several: (name, M) of the categorical inputs with M ids a record, [N, M], 0 where there are fewer.
        compression: the categorical inputs whose ids share rows; None: none.
    """

    categorical: tuple[tuple[str, int], ...]
    numeric: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    history: HistorySpec | None = None
    several: tuple[tuple[str, int], ...] = ()
    compression: Compression | None = None

    def layout(self, name: str) -> Layout:
        """The rows of a categorical input in an embedding table."""
        ratios = dict(self.compression.ratios) if self.compression is not None else {}
        return Layout(dict(self.categorical)[name], ratios.get(name, 1))

    def get_config(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> InputSpec:
        # Saved before there was one: none.
        history, compression = config.get("history"), config.get("compression")
        return cls(
            categorical=tuple((name, int(size)) for name, size in config["categorical"]),
            numeric=tuple(config["numeric"]),
            ids=tuple(config["ids"]),
            several=tuple((name, int(most)) for name, most in config.get("several", ())),
            history=None if history is None else HistorySpec.from_config(history),
            compression=None if compression is None else Compression.from_config(compression),
        )


def check_spec(spec: InputSpec) -> None:
    """Refuses inputs that cannot be.

    Raises:
        UserError: no input, a name twice, a size below 2, an unknown name in `ids` or in the history, several
            values of an id or in the history.
    """
    names = [name for name, _ in spec.categorical] + list(spec.numeric)
    if not names:
        raise UserError("input spec: expected at least one categorical or numeric input, received none.")
    if len(set(names)) < len(names):
        raise UserError(f"input spec: every name must stand once; received {names}.")
    for name, size in spec.categorical:
        if size < 2:
            raise UserError(
                f"input spec, {name!r}: expected at least 2 ids (padding, unknown), received {size}."
            )
    strangers = set(spec.ids) - {name for name, _ in spec.categorical}
    if strangers:
        raise UserError(
            f"input spec, ids: {sorted(strangers)} are no categorical inputs. Name only these: {names}."
        )
    single = {*spec.ids, *(spec.history.inputs if spec.history is not None else ())}
    for name, _ in spec.several:
        if name not in dict(spec.categorical) or name in single:
            raise UserError(
                f"input spec, {name!r}: several ids can only be of a categorical input that is no user or "
                "item id and not in the history."
            )
    if spec.history is not None:
        _check_history(spec.history, names, dict(spec.categorical))


def _check_history(history: HistorySpec, names: Sequence[str], categorical: Mapping[str, int]) -> None:
    if strangers := [name for name in history.inputs if name not in names]:
        raise UserError(f"input spec, history: {strangers} are no inputs. Name only these: {list(names)}.")
    if history.item not in history.inputs or history.item not in categorical:
        raise UserError(
            f"input spec, history: the item {history.item!r} must be one of its categorical inputs; received "
            f"{list(history.inputs)}."
        )
