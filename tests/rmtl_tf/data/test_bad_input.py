"""Bad input: a clear error or a row in quarantine, every other row kept, nothing half-visible."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline
from components.example_gen import example_gen
from components.run_status import read_status
from components.runner import run
from rmtl_tf.config import load_config
from rmtl_tf.data import ingest as ingest_module
from rmtl_tf.data.lines import MAX_LINE
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_tree
from tests.e2e.conftest import ROOT, SMALL
from tests.rmtl_tf.data.test_ingest import HEADER, _ingest, _lines, _quarantine

TEXT = "\n".join([HEADER, *_lines()]) + "\n"
NOBODY = 65534


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """The output of a run on `TEXT`."""
    root = tmp_path_factory.mktemp("good")
    (root / "logs").mkdir()
    (root / "logs" / "events.csv").write_text(TEXT)
    _ingest(root / "logs", root / "out")
    return root / "out"


def files_below(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", TEXT.replace(",", ";"), 'column "session_id" is missing; the file looks delimited by ";"'),
        ("a.csv", TEXT.replace(",", "\t"), "the file looks delimited by tabs, expected commas"),
        ("a.csv", TEXT.replace(",", "|"), 'the file looks delimited by "|", expected commas'),
        ("a.csv", TEXT.replace("\n", "\r"), "they end in CR alone"),
        ("a.csv", TEXT.encode("utf-16"), "it is UTF-16 text"),
        ("a.csv", TEXT.encode("utf-16-le"), "it looks like UTF-16"),
        ("a.csv", gzip.compress(TEXT.encode()), "it is gzip-compressed. Name it with .gz"),
        ("a.csv.gz", TEXT, "it is not compressed. Name it without .gz"),
        ("a.csv", b"PK\x03\x04" + bytes(range(200)), "it is a ZIP archive"),
        ("a.csv", b"PAR1" + bytes(range(200)), "it is Parquet"),
        ("a.parquet", TEXT, "cannot be read as Parquet"),
        ("a.csv", "", "the file is empty"),
        ("a.csv", TEXT.replace("item", "user"), 'column "user" stands twice in the header. Rename one.'),
        ("a.csv", TEXT.replace(HEADER, HEADER.replace(",", ", ")), "has spaces around it"),
        ("a.csv", "x" * (2 << 20), "the first line is longer than 1,048,576 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_before_anything_is_written(tmp_path, name, content, message):
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        _ingest(tmp_path / "logs", tmp_path / "out")
    assert str(path) in str(caught.value)
    assert files_below(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", HEADER + "\n", "no rows after the header in a.csv. Give logs with rows"),
        ("a.csv.gz", gzip.compress(TEXT.encode())[:-20], "a.csv.gz: cannot be read to its end"),
        ("a.csv", re.sub(r",(10\d{5}),", r",160\1,", TEXT), "  120  timestamp looks like milliseconds\n"),
    ],
)
def test_a_file_found_bad_while_it_is_read_leaves_nothing_but_its_quarantine(
    tmp_path, name, content, message
):
    (tmp_path / "logs").mkdir()
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "logs" / name).write_bytes(content.replace(b",1601", b",1600001"))
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        _ingest(tmp_path / "logs", tmp_path / "out")
    if "milliseconds" in message:
        assert "annotation tag unit:s, unit:ms" in str(caught.value)
        assert "a.csv, line 2: timestamp looks like milliseconds, column time" in str(caught.value)
    assert [name for name in files_below(tmp_path / "out" / "examples") if "tfrecord" in name] == []
    assert set(files_below(tmp_path / "out")) <= {"quarantine.csv"}


def test_every_right_form_of_the_same_rows_gives_the_same_examples(good, tmp_path):
    rows = _lines()
    logs = tmp_path / "logs"
    logs.mkdir()

    def text(begin: int, end: int, line_break: str = "\n") -> bytes:
        return (line_break.join([HEADER, *rows[begin:end]]) + line_break).encode()

    (logs / "bom.csv").write_bytes(b"\xef\xbb\xbf" + text(0, 20))
    (logs / "windows.csv").write_bytes(text(20, 40, "\r\n"))
    (logs / "open.csv").write_bytes(text(40, 60)[:-1])
    members = [text(60, 70), text(70, 80).split(b"\n", 1)[1]]
    (logs / "members.csv.gz").write_bytes(b"".join(gzip.compress(member) for member in members))
    quoted = ['"' + row.replace(",", '","') + '","a ""note""\nover\r\nlines"' for row in rows[80:100]]
    (logs / "quoted.csv").write_text("\n".join([HEADER + ",note", *quoted, ""]), newline="")
    latin = b"".join(row.encode() + b",\xe9\xff\n" for row in rows[100:])
    (logs / "other.csv").write_bytes(f"{HEADER},note\n".encode() + latin)
    report = _ingest(logs, tmp_path / "out")
    assert (report["rows_read"], report["bad_rows"]) == (120, 0)
    assert digest_tree(tmp_path / "out" / "examples") == digest_tree(good / "examples")


HUGE = "9" * 30
ROWS = {
    5: (b"s1,u\xe4,i1,1000001,1,1", "invalid UTF-8", "user"),
    9: (b"s1,u1,i1," + HUGE.encode() + b",1,1", "timestamp out of range", "time"),
    13: (b"s1,u1,i1,1600000000000,1,1", "timestamp looks like milliseconds", "time"),
    17: (b"s1,u1,i1,2020-01-01 00:00:00,1,1", "not a timestamp", "time"),
    21: (b"s1,u1,i1,1000001,1," + HUGE.encode(), "unknown label value", "click"),
    25: (b"s1,u1,i1,1000001," + HUGE.encode() * 2 + b",1", "number out of range", "price"),
    29: (b"s1,u1,i\0,1000001,1,1", "control character", "item"),
    33: (b"\0" * 50, "wrong number of fields", ""),
    37: (b's1,u1,"i1,1000001,1,1', "unclosed quote", ""),
    41: (HEADER.encode(), "not a timestamp", "time"),
    45: (b"x" * (MAX_LINE + 1), "line too long", ""),
    49: (b"s1;u1;i1;1000001;1;1", "wrong number of fields", ""),
}


@pytest.mark.parametrize("packed", [False, True])
def test_bad_rows_are_quarantined_with_line_and_field_and_every_other_row_is_kept(good, tmp_path, packed):
    """A line of some megabytes lies over several parts of the plain file."""
    rows = [row.encode() for row in _lines()]
    for line, (row, *_) in ROWS.items():
        rows.insert(line - 2, row)
    data = b"\n".join([HEADER.encode(), *rows]) + b"\n"
    (tmp_path / "logs").mkdir()
    name = "events.csv.gz" if packed else "events.csv"
    (tmp_path / "logs" / name).write_bytes(gzip.compress(data, 1) if packed else data)
    how = {"span_size": 1 << 20}
    report = _ingest(tmp_path / "logs", tmp_path / "out", how=how, max_bad_fraction=0.2)
    found = [(int(row["line"]), row["reason"], row["column"]) for row in _quarantine(tmp_path / "out")]
    assert found == [(line, reason, column) for line, (_, reason, column) in ROWS.items()]
    assert (report["rows_read"], report["bad_rows"], report["records"]) == (132, 12, 120)
    assert digest_tree(tmp_path / "out" / "examples") == digest_tree(good / "examples")


def test_identifiers_are_text_however_large_a_number_they_look_like(tmp_path):
    (tmp_path / "logs").mkdir()
    text = re.sub(r",u(\d),i(\d+),", rf",{HUGE}\1,{HUGE}\2,", TEXT)
    (tmp_path / "logs" / "a.csv").write_text(text)
    report = _ingest(tmp_path / "logs", tmp_path / "out")
    assert (report["records"], report["features"]["user"]["unique"]) == (120, 7)


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions count for root too."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def anyones() -> Iterator[Path]:
    """A folder that every user can enter and write; those of pytest are its owner's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("locked", ["logs/a.csv", "logs"])
def test_logs_without_permission_are_named(anyones, locked):
    (anyones / "logs").mkdir()
    (anyones / "logs" / "a.csv").write_text(TEXT)
    (anyones / locked).chmod(0)
    data = load_config(
        ROOT / "configs" / "simulator.yaml", [f"data.path={anyones}/logs", "data.dataset=table"]
    )
    with without_privileges(), pytest.raises(UserError, match=r"ermission.* denied") as caught:
        run([example_gen(data.data)], anyones / "root")
    (anyones / locked).chmod(0o755)
    assert str(anyones / locked) in str(caught.value)
    assert re.search(r"Change (its|the) permissions", str(caught.value))
    assert list((anyones / "root").glob("ExampleGen/*")) == []


def test_a_root_without_permission_is_named_without_a_traceback(anyones, capsys):
    (anyones / "locked").mkdir(mode=0o555)
    settings = [
        "run",
        "--config",
        str(ROOT / "configs" / "simulator.yaml"),
        "--set",
        f"root={anyones}/locked",
    ]
    with without_privileges():
        code = pipeline.main(settings)
    error = capsys.readouterr().err
    assert code == 2
    assert re.search(
        rf"error: {anyones}/locked\S*: permission denied for the user with id \d+\. Expected", error
    )
    assert "Traceback" not in error


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file can be written beyond `size` bytes: the system refuses with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def visible(root: Path, step: str) -> list[str]:
    return [path.name for path in root.glob(f"{step}/*") if not path.name.startswith(".")]


def test_a_step_that_cannot_write_says_so_shows_nothing_and_a_rerun_succeeds(tmp_path):
    """ExampleGen, Transform and Trainer, each stopped by the system while it writes, then let go on."""
    short = ("training.arms=[control]", "training.pretrain.max_epochs=1", "training.finetune.max_epochs=1")
    config = load_config(ROOT / "configs" / "simulator.yaml", [f"root={tmp_path}", *SMALL, *short])
    root = tmp_path / "runs"
    steps = pipeline.create_pipeline(config)
    names = [step.name for step in steps]
    for name in ("ExampleGen", "Transform", "Trainer"):
        number = names.index(name) + 1
        run(steps[: number - 1], root)
        with (
            largest_file(12_000),
            pytest.raises(UserError, match="cannot be written: a file is larger") as error,
        ):
            run(steps[:number], root)
        assert str(root) in str(error.value)
        assert "Make room, or write elsewhere (--set root=FOLDER, TMPDIR)" in str(error.value)
        assert visible(root, name) == []
        status = {step["name"]: step for step in read_status(root)["steps"]}
        assert (status[name]["state"], status[name]["error"]) == ("failed", str(error.value))
        assert [step.state for step in run(steps[:number], root)] == [*["cached"] * (number - 1), "ran"]
        assert len(visible(root, name)) == 1


def test_a_full_disk_says_so_shows_nothing_and_a_rerun_succeeds(tmp_path, monkeypatch):
    """/dev/full is a disk without space for anyone: ENOSPC comes from the system itself."""
    config = load_config(ROOT / "configs" / "simulator.yaml", [f"root={tmp_path}", *SMALL])
    steps, root = pipeline.create_pipeline(config)[:2], tmp_path / "runs"
    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "shard_path", lambda *_: Path("/dev/full"))
        with pytest.raises(UserError, match=r"runs: cannot be written: no space left\. Free now: "):
            run(steps, root)
    assert visible(root, "ExampleGen") == []
    assert files_below(root / "ExampleGen") == []
    assert [step.state for step in run(steps, root)] == ["cached", "ran"]
