"""What made an artifact, and what is different between two: read from the execution records of a root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.run_status import read_status
from components.store import EXECUTION_FILE
from rmtl_tf import serving_versions
from rmtl_tf.console import duration, table
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_json, digest_tree, read_json
from rmtl_tf.places import is_remote

_SHORT = 12
_FILE = "file "


@dataclass(frozen=True)
class Step:
    """One execution: where its outputs are, and its record (`execution.json`)."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.record["component"]

    @property
    def root(self) -> Path:
        return self.folder.parent.parent

    def inputs(self) -> Iterator[Step]:
        """The executions that made its inputs.

        Raises:
            UserError: the outputs of one are gone.
        """
        folders = {self.root / Path(entry["path"]).parent for entry in self.record["inputs"].values()}
        for folder in sorted(folders):
            yield read_step(folder)


def read_step(folder: Path) -> Step:
    """The execution whose outputs are in `<root>/<Component>/<key>`.

    Raises:
        UserError: there is no record of one.
    """
    try:
        return Step(folder, read_json(folder / EXECUTION_FILE))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: expected the outputs of a step with {EXECUTION_FILE} in it, found none. They are in "
            "<root>/<Component>/<key>; what was removed can no longer be traced."
        ) from None


def ancestry(step: Step) -> list[Step]:
    """A step and all that it came from, sources first."""
    found: dict[Path, Step] = {}

    def visit(one: Step) -> None:
        if one.folder not in found:
            for earlier in one.inputs():
                visit(earlier)
            found[one.folder] = one

    visit(step)
    return list(found.values())


def find(place: Path) -> Step:
    """The last step behind a place: a pushed version, the outputs of a step, or the last run of a root.

    Raises:
        UserError: it is none of these, or what made it is gone.
    """
    place = place if is_remote(place) else place.resolve()
    if (place / EXECUTION_FILE).is_file():
        return read_step(place)
    if (place / serving_versions.MANIFEST).is_file():
        return read_step(_pusher_or_trainer(place))
    if not (place / "status.json").is_file():
        raise UserError(
            f"{place}: expected a pushed version (<serving>/3), the outputs of a step "
            "(<root>/<Component>/<key>) or the root of a run, received none of them."
        )
    folders = [
        (place / path).parent for step in read_status(place)["steps"] for path in step["outputs"].values()
    ]
    if not folders:
        raise UserError(f"{place}: its last run finished no step. Run it first.")
    return read_step(folders[-1])


def _pusher_or_trainer(version: Path) -> Path:
    """The step that pushed a version, or at least the one that trained it."""
    model = serving_versions.source(version)
    if model is None:
        raise UserError(
            f"{version}: the model it was pushed from is gone (or its manifest names none), so what made it "
            "can no longer be traced. `gc` never removes what a pushed model needs; something else did."
        )
    trainer, number = model.parent.parent, serving_versions.number(version)
    pushers = sorted(
        trainer.parent.parent.glob(f"Pusher/[!.]*/{EXECUTION_FILE}"), key=lambda p: p.parent.name
    )
    for record in pushers:
        made_of = read_json(record)["inputs"]["model"]["path"]
        pushed = read_json(record.parent / "pushed" / "pushed.json")
        if trainer.parent.parent / made_of == model.parent and pushed["version"] == str(number):
            return record.parent
    return trainer


def raw_files(step: Step) -> dict[str, str]:
    """sha256 of every raw file a step read that no other step made, by name."""
    return {
        key.removeprefix(_FILE): digest
        for key, digest in sorted(step.record["external"].items())
        if key.startswith(_FILE)
    }


def lineage_text(place: Path, check: bool = False) -> str:
    """What made the model or artifact in `place`, from the raw files on, in lines a person reads.

    Args:
        check: read every artifact again and say whether it still is what was recorded.
    """
    steps = ancestry(find(place))
    last = steps[-1]
    lines = [f"{place}: made by {len(steps)} steps in {last.root}", ""]
    rows = []
    for step in steps:
        record = step.record
        made_of = ", ".join(sorted({Path(e["path"]).parts[0] for e in record["inputs"].values()})) or "-"
        rows.append(
            [step.name, step.folder.name, made_of, record["started"][:19], duration(record["seconds"])]
        )
    lines += table(["step", "key", "made of", "started (UTC)", "took"], rows, left=4)
    lines += ["", "Read from outside (sha256):"]
    for step in steps:
        files = {f"raw file {name}": digest for name, digest in raw_files(step).items()}
        others = {k: v for k, v in step.record["external"].items() if v and not k.startswith(_FILE)}
        lines += [f"  {digest}  {step.name}: {name}" for name, digest in {**files, **others}.items()]
    lines += ["", f"Settings: in {last.root}/STEP/KEY/{EXECUTION_FILE}, under parameters"]
    commits = dict.fromkeys(str(step.record["commit"] or "unknown") for step in steps)
    packages = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in sorted(step.record["versions"].items()))
        for step in steps
    )
    lines += ["", f"Code: commit {', '.join(commits)}", *(f"Packages: {text}" for text in packages)]
    if check:
        lines += ["", *_check_lines(steps)]
    return "\n".join(lines)


def _check_lines(steps: list[Step]) -> list[str]:
    changed = [
        f"  {step.name}/{key} in {step.folder}"
        for step in steps
        for key, output in step.record["outputs"].items()
        if digest_json(digest_tree(step.folder / key)) != output["digest"]
    ]
    if changed:
        return ["CHANGED since they were made:", *changed]
    return [f"All {sum(len(s.record['outputs']) for s in steps)} artifacts are what was recorded."]


def difference_text(before: Path, after: Path) -> str:
    """Which raw file, setting, source, package or input is different between two runs, and what it did to the
    metrics."""
    first, second = ({step.name: step for step in ancestry(find(place))} for place in (before, after))
    lines = [f"{before}  ->  {after}"]
    for name in [*first, *(name for name in second if name not in first)]:
        changes = _changes(first.get(name), second.get(name))
        if changes:
            lines += ["", f"{name}", *(f"  {line}" for line in changes)]
    if len(lines) == 1:
        lines += ["", "Nothing is different: same inputs, settings, sources and packages."]
    metrics = _metric_lines(first.get("Evaluator"), second.get("Evaluator"))
    return "\n".join([*lines, *metrics])


def _changes(before: Step | None, after: Step | None) -> list[str]:
    if before is None or after is None:
        return ["only in the first" if after is None else "only in the second"]
    old, new = before.record, after.record
    lines = _different("outside", old["external"], new["external"], shorten=True)
    lines += _different("setting", flat(old["parameters"]), flat(new["parameters"]))
    if old["source"] != new["source"]:
        commits = [str(record["commit"] or "unknown")[:_SHORT] for record in (old, new)]
        lines.append(f"source: the step's code differs (commit {commits[0]} -> {commits[1]})")
    lines += _different("package", old["versions"], new["versions"])
    first, second = ({k: e["digest"] for k, e in record["inputs"].items()} for record in (old, new))
    lines += _different("input", first, second, shorten=True)
    return lines


def _different(what: str, old: Mapping[str, Any], new: Mapping[str, Any], shorten: bool = False) -> list[str]:
    def show(values: Mapping[str, Any], key: str) -> str:
        if key not in values:
            return "(none)"
        text = str(values[key])
        return text[:_SHORT] if shorten else text

    return [
        f"{what} {key}: {show(old, key)} -> {show(new, key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    ]


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted path; a list's entries by their `name`, or their place."""
    if isinstance(value, Mapping):
        entries = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        entries = [(str(entry.get("name", place)), entry) for place, entry in enumerate(value)]
    else:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, entry in entries:
        found |= flat(entry, f"{prefix}.{key}" if prefix else key)
    return found


def _metric_lines(before: Step | None, after: Step | None) -> list[str]:
    """Test metrics of the exported arm, side by side."""
    if before is None or after is None:
        return []
    old, new = (read_json(step.folder / "evaluation" / "evaluation.json") for step in (before, after))
    rows = []
    for task in old["tasks"]:
        for key, name in (("auc", "AUC"), ("logloss", "Logloss")):
            values = [found["metrics"][found["export"]].get(task, {}).get(key) for found in (old, new)]
            if None not in values:
                a, b = (float(value["value"]) for value in values)
                rows.append([task, name, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}"])
    same = old["records"] == new["records"]
    note = "" if same else f" (on {old['records']:,} and {new['records']:,} records: other test data)"
    header = ["task", "metric", f"first: {old['export']}", f"second: {new['export']}", "difference"]
    return ["", f"Test metrics of the exported arm{note}", *table(header, rows, left=2)]
