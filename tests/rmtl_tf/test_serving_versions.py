"""Versions as TF Serving sees them: whole or absent, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random

import pytest

from rmtl_tf import serving_versions
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json
from rmtl_tf.serving_labels import read_labels

REPOSITORY = Path(__file__).resolve().parents[2]


def saved_model(parent: Path, text: str) -> Path:
    """A directory with the files of a SavedModel; the text stands for its weights."""
    model = parent / f"model-{text}"
    (model / "variables").mkdir(parents=True)
    (model / "assets").mkdir()
    (model / "variables" / "variables.data-00000-of-00001").write_text(text * 1000)
    (model / "assets" / "vocabulary.txt").write_text("a\nb\n")
    (model / "saved_model.pb").write_text(f"graph {text}")
    return model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "shop"


def push(tmp_path: Path, base: Path, *texts: str, keep: int = 5) -> list[serving_versions.Push]:
    models = [tmp_path / f"model-{text}" for text in texts]
    return [
        serving_versions.push(m if m.exists() else saved_model(tmp_path, t), base, keep)
        for m, t in zip(models, texts, strict=True)
    ]


class TestPush:
    def test_versions_count_up_from_1_and_the_largest_is_latest(self, tmp_path: Path, base: Path) -> None:
        assert serving_versions.versions(base) == []
        assert serving_versions.latest(base) is None
        pushes = push(tmp_path, base, *"abc")
        assert [(p.version, p.path, p.new) for p in pushes] == [(n, base / str(n), True) for n in (1, 2, 3)]
        assert serving_versions.versions(base) == [1, 2, 3]
        assert serving_versions.latest(base) == base / "3"

    def test_order_is_numeric_and_other_names_are_no_versions(self, base: Path) -> None:
        for name in ("9", "10", "007", "-3", "1.5", "²", "current", ".staging-1"):
            (base / name).mkdir(parents=True)
        (base / "99").write_text("a file")
        assert serving_versions.versions(base) == [9, 10]
        assert serving_versions.latest(base) == base / "10"

    def test_version_holds_the_model_its_warm_up_and_a_true_manifest(
        self, tmp_path: Path, base: Path
    ) -> None:
        model = saved_model(tmp_path, "a")
        warmup = tmp_path / "requests"
        warmup.write_bytes(b"warm")
        path = serving_versions.push(model, base, keep=2, warmup=warmup).path
        assert (path / "assets.extra" / "tf_serving_warmup_requests").read_bytes() == b"warm"
        for file in model.rglob("*"):
            if file.is_file():
                assert (path / file.relative_to(model)).read_bytes() == file.read_bytes()
        manifest = read_json(path / "manifest.json")
        assert manifest["model_digest"] == serving_versions.model_digest(model)
        assert manifest["version"] == 1
        assert manifest["source"] == str(model)
        assert set(manifest["files"]) == {
            "assets.extra/tf_serving_warmup_requests",
            "assets/vocabulary.txt",
            "saved_model.pb",
            "variables/variables.data-00000-of-00001",
        }
        assert serving_versions.verify(path) == []
        assert path.stat().st_mode & 0o055 == 0o055, "another user's TF Serving must be able to read it"

    def test_the_newest_model_is_not_pushed_twice(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, "a")
        (again,) = push(tmp_path, base, "a")
        assert (again.version, again.new, again.rolled_back) == (1, False, False)
        assert serving_versions.versions(base) == [1]

    def test_an_older_model_is_pushed_again_to_become_the_newest(self, tmp_path: Path, base: Path) -> None:
        pushes = push(tmp_path, base, *"aba")
        assert [p.version for p in pushes] == [1, 2, 3]

    def test_only_the_last_versions_stay(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, *"abcd", keep=2)
        assert serving_versions.versions(base) == [3, 4]
        assert sorted(path.name for path in base.iterdir()) == [".lock", "3", "4", "models.config"]

    def test_folder_without_a_saved_model_is_refused(self, tmp_path: Path, base: Path) -> None:
        with pytest.raises(UserError, match=r"found no saved_model\.pb"):
            serving_versions.push(tmp_path, base, keep=1)
        with pytest.raises(ValueError, match="at least 1"):
            serving_versions.push(saved_model(tmp_path, "a"), base, keep=0)

    def test_rest_of_a_killed_push_is_removed_by_the_next(self, tmp_path: Path, base: Path) -> None:
        for name in (".staging-4711-x", ".removing-3"):
            (base / name / "variables").mkdir(parents=True)
        (base / ".models.config.4711").write_text("half")
        push(tmp_path, base, "a")
        assert sorted(path.name for path in base.iterdir()) == [".lock", "1", "models.config"]

    def test_digest_of_a_model_is_the_same_after_the_push_and_follows_every_file(
        self, tmp_path: Path, base: Path
    ) -> None:
        model = saved_model(tmp_path, "a")
        (tmp_path / "warmup").write_text("x")
        before = serving_versions.model_digest(model)
        pushed = serving_versions.push(model, base, keep=1, warmup=tmp_path / "warmup").path
        assert serving_versions.model_digest(pushed) == before
        (model / "assets" / "vocabulary.txt").write_text("b\na\n")
        assert serving_versions.model_digest(model) != before


class TestBaseline:
    def test_latest_other_model_skips_versions_of_the_same_model(self, tmp_path: Path, base: Path) -> None:
        digest = serving_versions.model_digest(saved_model(tmp_path, "b"))
        assert serving_versions.latest_other_than(base, digest) is None
        push(tmp_path, base, "a")
        assert serving_versions.latest_other_than(base, digest) == base / "1"
        push(tmp_path, base, "b")
        assert serving_versions.latest_other_than(base, digest) == base / "1"
        push(tmp_path, base, "c")
        assert serving_versions.latest_other_than(base, digest) == base / "3"

    def test_version_without_a_manifest_counts_as_another_model(self, base: Path) -> None:
        (base / "1").mkdir(parents=True)
        assert serving_versions.latest_other_than(base, "d" * 64) == base / "1"


class TestRollback:
    def test_newest_version_disappears_and_the_one_before_serves(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, *"ab")
        assert serving_versions.rollback(base) == (2, 1)
        assert serving_versions.latest(base) == base / "1"
        assert serving_versions.verify(base / ".rolled-back-2") == []

    def test_number_of_a_rolled_back_version_is_not_given_out_again(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, *"ab")
        serving_versions.rollback(base)
        assert push(tmp_path, base, "c")[0].version == 3

    def test_rolled_back_model_is_not_pushed_again_until_its_directory_is_removed(
        self, tmp_path: Path, base: Path
    ) -> None:
        push(tmp_path, base, *"ab")
        serving_versions.rollback(base)
        (refused,) = push(tmp_path, base, "b")
        assert (refused.version, refused.path, refused.new) == (2, base / ".rolled-back-2", False)
        assert refused.rolled_back
        assert serving_versions.versions(base) == [1]
        (base / ".rolled-back-2").rename(tmp_path / "gone")
        assert push(tmp_path, base, "b")[0].new

    def test_last_version_cannot_be_rolled_back(self, tmp_path: Path, base: Path) -> None:
        with pytest.raises(UserError, match="nothing was pushed yet"):
            serving_versions.rollback(base)
        push(tmp_path, base, "a")
        with pytest.raises(UserError, match="found only version 1"):
            serving_versions.rollback(base)
        assert serving_versions.versions(base) == [1]

    def test_old_rolled_back_versions_are_pruned_too(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, "a")
        for text in "bcd":
            push(tmp_path, base, text, keep=1 + 1)
            serving_versions.rollback(base)
        push(tmp_path, base, "e", keep=2)
        kept = sorted(path.name for path in base.iterdir())
        assert kept == [".lock", ".rolled-back-3", ".rolled-back-4", "1", "5", "models.config"]


class TestLabels:
    def labels(self, base: Path) -> tuple[int, int]:
        labels = read_labels(base)
        return labels["stable"], labels["canary"]

    def canary(self, tmp_path: Path, base: Path, text: str, keep: int = 5) -> serving_versions.Push:
        model = tmp_path / f"model-{text}"
        model = model if model.exists() else saved_model(tmp_path, text)
        return serving_versions.push(model, base, keep, label="canary")

    def test_push_is_stable_and_a_canary_stands_beside_it(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, *"ab")
        assert self.labels(base) == (2, 2)
        assert self.canary(tmp_path, base, "c").version == 3
        assert self.labels(base) == (2, 3)
        assert serving_versions.versions(base) == [1, 2, 3]

    def test_first_canary_is_stable_too_since_there_is_no_other(self, tmp_path: Path, base: Path) -> None:
        self.canary(tmp_path, base, "a")
        assert self.labels(base) == (1, 1)

    def test_promoted_canary_is_stable_and_its_label_stays_valid(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, "a")
        self.canary(tmp_path, base, "b")
        assert serving_versions.promote(base) == (1, 2)
        assert self.labels(base) == (2, 2)
        assert serving_versions.versions(base) == [1, 2]

    def test_canary_taken_back_leaves_the_stable_version(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, *"ab")
        self.canary(tmp_path, base, "c")
        assert serving_versions.rollback(base) == (3, 2)
        assert self.labels(base) == (2, 2)
        assert serving_versions.rollback(base) == (2, 1)
        assert self.labels(base) == (1, 1)

    @pytest.mark.parametrize("label", ["canary", "stable"])
    def test_canary_that_was_replaced_is_removed_so_rollback_never_reaches_it(
        self, tmp_path: Path, base: Path, label: str
    ) -> None:
        push(tmp_path, base, "a")
        self.canary(tmp_path, base, "b")
        serving_versions.push(saved_model(tmp_path, "c"), base, 5, label=label)
        assert serving_versions.versions(base) == [1, 3]
        if label == "canary":
            serving_versions.promote(base)
        assert self.labels(base) == (3, 3)
        assert serving_versions.rollback(base) == (3, 1)

    def test_same_model_pushed_as_stable_promotes_it_and_as_canary_changes_nothing(
        self, tmp_path: Path, base: Path
    ) -> None:
        push(tmp_path, base, "a")
        assert not self.canary(tmp_path, base, "a").new
        assert self.labels(base) == (1, 1)
        self.canary(tmp_path, base, "b")
        assert not push(tmp_path, base, "b")[0].new
        assert self.labels(base) == (2, 2)

    def test_labelled_versions_are_kept_however_old(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, "a")
        for text in "bcd":
            self.canary(tmp_path, base, text, keep=1)
        assert serving_versions.versions(base) == [1, 4]
        assert self.labels(base) == (1, 4)

    def test_without_a_canary_there_is_nothing_to_promote(self, tmp_path: Path, base: Path) -> None:
        with pytest.raises(UserError, match="nothing was pushed yet"):
            serving_versions.promote(base)
        push(tmp_path, base, "a")
        with pytest.raises(UserError, match=r"found none.*push --label canary"):
            serving_versions.promote(base)

    def test_versions_from_before_there_were_labels_count_as_stable(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, *"ab")
        (base / "models.config").unlink()
        self.canary(tmp_path, base, "c")
        assert self.labels(base) == (2, 3)

    def test_evaluation_compares_with_the_stable_version(self, tmp_path: Path, base: Path) -> None:
        push(tmp_path, base, *"ab")
        self.canary(tmp_path, base, "c")
        assert serving_versions.latest_other_than(base, "d" * 64) == base / "2"
        stable = serving_versions.model_digest(tmp_path / "model-b")
        assert serving_versions.latest_other_than(base, stable) == base / "1"

    def test_unknown_label_is_refused(self, tmp_path: Path, base: Path) -> None:
        with pytest.raises(ValueError, match="stable, canary"):
            serving_versions.push(saved_model(tmp_path, "a"), base, 5, label="beta")


class TestVerify:
    def test_every_kind_of_difference_is_named(self, tmp_path: Path, base: Path) -> None:
        path = push(tmp_path, base, "a")[0].path
        (path / "saved_model.pb").write_text("other")
        (path / "assets" / "vocabulary.txt").unlink()
        (path / "added").touch()
        assert serving_versions.verify(path) == [
            "added: not in the manifest",
            "assets/vocabulary.txt: missing",
            "saved_model.pb: changed",
        ]

    def test_version_without_a_manifest_is_not_verified(self, base: Path) -> None:
        assert serving_versions.verify(base / "1") == ["manifest.json: missing or unreadable"]


class TestUnderFire:
    def test_reader_never_sees_a_half_version_nor_none_during_pushes_and_pruning(
        self, tmp_path: Path, base: Path
    ) -> None:
        push(tmp_path, base, "0")
        stop = threading.Event()
        seen: set[int] = set()
        problems: list[str] = []

        def read() -> None:
            while not stop.is_set():
                path = serving_versions.latest(base)
                if path is None:
                    problems.append("no version")
                    continue
                seen.add(int(path.name))
                try:
                    found = serving_versions.verify(path)
                except FileNotFoundError:
                    found = ["a file vanished"]
                # What is still listed after it was read was not pruned meanwhile: it must be whole.
                if found and int(path.name) in serving_versions.versions(base):
                    problems.append(f"{path.name}: {found}")

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(1, 40):
            push(tmp_path, base, str(number), keep=3)
        stop.set()
        reader.join()
        assert problems == []
        assert len(seen) > 3

    def test_pushes_of_many_threads_get_different_numbers(self, tmp_path: Path, base: Path) -> None:
        models = [saved_model(tmp_path, f"{number}") for number in range(12)]
        found: list[int] = []
        threads = [
            threading.Thread(
                target=lambda m=model: found.append(serving_versions.push(m, base, keep=50).version)
            )
            for model in models
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == list(range(1, 13)) == serving_versions.versions(base)
        assert all(serving_versions.verify(base / str(version)) == [] for version in found)

    def test_killed_push_leaves_whole_versions_only_and_the_next_push_works(
        self, tmp_path: Path, base: Path
    ) -> None:
        models = [saved_model(tmp_path, f"{number}") for number in range(2)]
        for model in models:
            for part in range(200):
                (model / "variables" / f"part-{part}").write_text(f"{model.name} {part}")
        script = (
            "import sys; from pathlib import Path; from rmtl_tf import serving_versions\n"
            "while True:\n"
            "    for model in sys.argv[2:]:\n"
            "        serving_versions.push(Path(model), Path(sys.argv[1]), keep=2)\n"
        )
        for attempt in range(5):
            command = [sys.executable, "-c", script, str(base), *map(str, models)]
            process = subprocess.Popen(
                command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
            )
            before = serving_versions.versions(base)
            deadline = time.monotonic() + 20
            while serving_versions.versions(base) == before and time.monotonic() < deadline:
                time.sleep(0.003)
            time.sleep(0.013 * attempt)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            found = serving_versions.versions(base)
            assert found != before
            assert all(serving_versions.verify(base / str(version)) == [] for version in found)
        last = serving_versions.versions(base)[-1]
        assert push(tmp_path, base, "new", keep=2)[0].version == last + 1
        assert [path.name for path in base.iterdir() if path.name.startswith((".staging", ".removing"))] == []

    def test_reader_never_sees_a_half_version_while_200_pushes_happen_and_some_are_killed(
        self, tmp_path: Path, base: Path
    ) -> None:
        models = [saved_model(tmp_path, f"{number}") for number in range(3)]
        script = (
            "import os, sys; from pathlib import Path; from rmtl_tf import serving_versions\n"
            "os.fsync = lambda _: None  # a killed process loses nothing that the system has\n"
            "base, *models = map(Path, sys.argv[1:])\n"
            "last = 0\n"
            "while last < 200:\n"
            "    models.append(models.pop(0))  # another model than the newest, after at most two calls\n"
            "    label = 'canary' if last % 3 else 'stable'\n"
            "    last = serving_versions.push(models[0], base, 4, label=label).version\n"
        )
        problems: list[str] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                found = serving_versions.versions(base)
                labels = read_labels(base)
                problems.extend(f"{label} is {v}" for label, v in labels.items() if v < 1)
                for version in found[-1:]:
                    try:
                        wrong = serving_versions.verify(base / str(version))
                    except FileNotFoundError:
                        wrong = ["a file vanished"]
                    if wrong and version in serving_versions.versions(base):
                        problems.append(f"{version}: {wrong}")
                # The labels were read after the versions were listed, so they can only be newer. A push that
                # was killed before it wrote them, and the next one just before that: two behind at most.
                if found and labels and max(labels.values()) < found[-1] - 2:
                    problems.append(f"labels {labels} of versions {found}")

        reader = threading.Thread(target=read)
        reader.start()
        kills = 0
        random = Random(0)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        try:
            while True:
                command = [sys.executable, "-c", script, str(base), *map(str, models)]
                process = subprocess.Popen(command, cwd=REPOSITORY, env=environment)
                start = (serving_versions.versions(base) or [0])[-1]
                limit = start + random.randint(5, 25) if kills < 8 else 200
                while process.poll() is None and (serving_versions.versions(base) or [0])[-1] < limit:
                    time.sleep(0.002)
                if limit >= 200:
                    assert process.wait(60) == 0
                    break
                time.sleep(random.random() * 0.02)
                process.send_signal(signal.SIGKILL)
                process.wait(10)
                kills += 1
                for version in serving_versions.versions(base):
                    assert serving_versions.verify(base / str(version)) == []
        finally:
            stop.set()
            reader.join()
        assert problems == []
        assert kills == 8
        assert serving_versions.versions(base)[-1] >= 200
        assert set(read_labels(base).values()) <= set(serving_versions.versions(base))
