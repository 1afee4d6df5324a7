"""The source closure, on small projects written for the case and on this one."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from components import sources
from components.base import Component
from components.sources import source_files

REPOSITORY = Path(__file__).resolve().parents[2]


def project(root: Path, **files: str) -> Path:
    """Writes `rmtl_tf__rl__agent="..."` to rmtl_tf/rl/agent.py, with `__init__.py` files."""
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        for parent in path.parents:
            if parent == root:
                break
            (parent / "__init__.py").touch()
    return root


def needed(root: Path, own: str) -> set[str]:
    return {path.relative_to(root).as_posix() for path in sources.source_files(root / own, root)}


@pytest.mark.parametrize(
    "line",
    [
        "import rmtl_tf.rl.agent",
        "import rmtl_tf.rl.agent as agent",
        "from rmtl_tf.rl.agent import Agent",
        "from rmtl_tf.rl import agent",
        "from rmtl_tf.rl import agent as other, nothing",
        "def f():\n    from rmtl_tf.rl import agent",
        "if False:\n    import rmtl_tf.rl.agent",
        "REGISTRY = {'a': 'rmtl_tf.rl.agent'}",
        "REGISTRY = {'a': 'rmtl_tf.rl.agent:Agent'}",
    ],
)
def test_every_way_to_name_a_module_finds_it(tmp_path: Path, line: str) -> None:
    root = project(
        tmp_path, components__one=line, rmtl_tf__rl__agent="", rmtl_tf__rl__other="", rmtl_tf__far=""
    )
    assert needed(root, "components/one.py") == {
        "components/one.py",
        "rmtl_tf/__init__.py",
        "rmtl_tf/rl/__init__.py",
        "rmtl_tf/rl/agent.py",
    }


def test_modules_are_followed_transitively_through_cycles(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        components__one="from rmtl_tf import a",
        rmtl_tf__a="import rmtl_tf.b, numpy",
        rmtl_tf__b="def f():\n    import rmtl_tf.c",
        rmtl_tf__c="import rmtl_tf.a",
        rmtl_tf__d="",
    )
    found = needed(root, "components/one.py")
    assert found == {
        "components/one.py",
        "rmtl_tf/__init__.py",
        "rmtl_tf/a.py",
        "rmtl_tf/b.py",
        "rmtl_tf/c.py",
    }


def test_imports_of_a_package_file_count(tmp_path: Path) -> None:
    root = project(
        tmp_path, components__one="from rmtl_tf.rl import agent", rmtl_tf__rl__agent="", rmtl_tf__e=""
    )
    (root / "rmtl_tf" / "rl" / "__init__.py").write_text("from rmtl_tf import e")
    assert "rmtl_tf/e.py" in needed(root, "components/one.py")


@pytest.mark.parametrize(
    ("line", "target"), [("from . import b", "b"), ("from .b import x", "b"), ("from ..far import y", "far")]
)
def test_relative_imports_are_resolved(tmp_path: Path, line: str, target: str) -> None:
    root = project(tmp_path, components__one="import rmtl_tf.rl.a", rmtl_tf__rl__a=line)
    path = root / "rmtl_tf" / ("rl/b.py" if target == "b" else "far.py")
    path.write_text("")
    assert path in sources.source_files(root / "components" / "one.py", root)


def test_constant_part_of_a_computed_name_stands_for_the_whole_package(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        components__one="import importlib\nimportlib.import_module(f'rmtl_tf.backbones.{name}')",
        rmtl_tf__backbones__ple="",
        rmtl_tf__backbones__esmm="import rmtl_tf.towers",
        rmtl_tf__towers="",
    )
    found = needed(root, "components/one.py")
    assert {"rmtl_tf/backbones/ple.py", "rmtl_tf/backbones/esmm.py", "rmtl_tf/towers.py"} <= found


def test_data_files_of_a_package_count_and_hidden_ones_do_not(tmp_path: Path) -> None:
    root = project(tmp_path, components__one="import rmtl_tf.report.html", rmtl_tf__report__html="")
    for name in ("template.html", ".template.html.swp", "template.html~", "html.pyc"):
        (root / "rmtl_tf" / "report" / name).write_text("")
    found = needed(root, "components/one.py")
    assert {name for name in found if "report" in name} == {
        "rmtl_tf/report/__init__.py",
        "rmtl_tf/report/html.py",
        "rmtl_tf/report/template.html",
    }


def test_sentences_and_paths_that_begin_like_a_module_are_not_modules(tmp_path: Path) -> None:
    root = project(
        tmp_path, components__one="'''rmtl_tf.rl is a package'''\nX = 'rmtl_tf/rl/a.py'", rmtl_tf__rl__a=""
    )
    assert needed(root, "components/one.py") == {"components/one.py"}


def _class_in(root: Path) -> type:
    """A class whose source file is components/one.py of `root`."""
    namespace: dict[str, object] = {"__name__": f"one_{id(root)}"}
    path = root / "components" / "one.py"
    module = type(sys)(str(namespace["__name__"]))
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return module.One  # type: ignore[attr-defined]


@pytest.mark.parametrize("changed", ["components/one.py", "rmtl_tf/a.py", "rmtl_tf/__init__.py"])
def test_digest_changes_with_every_needed_file(tmp_path: Path, changed: str) -> None:
    digests = []
    for copy in ("first", "second"):
        root = project(
            tmp_path / copy, components__one="import sys\nclass One: pass\n", rmtl_tf__a="", rmtl_tf__b=""
        )
        text = "import sys\ndef f():\n    from rmtl_tf import a\nclass One: pass\n"
        (root / "components" / "one.py").write_text(text)
        if copy == "second":
            with (root / changed).open("a") as stream:
                stream.write("# changed\n")
        digests.append(sources.source_digest(_class_in(root), root))
    assert digests[0] != digests[1]


def test_digest_ignores_other_files_and_where_the_project_lies(tmp_path: Path) -> None:
    digests = []
    for copy in ("first", "second"):
        root = project(tmp_path / copy, components__one="class One: pass\n", rmtl_tf__unrelated=f"# {copy}")
        digests.append(sources.source_digest(_class_in(root), root))
    assert digests[0] == digests[1]


def test_component_of_this_project_depends_on_its_contract_and_configuration() -> None:
    found = needed(REPOSITORY, "components/pusher.py")
    assert {
        "components/base.py",
        "rmtl_tf/config/data.py",
        "rmtl_tf/serving_versions.py",
        "rmtl_tf/files.py",
    } <= found
    assert "components/runner.py" not in found


def test_probe_script_is_source_of_the_infra_validator() -> None:
    assert "rmtl_tf/export/probe.py" in needed(REPOSITORY, "components/infra_validator.py")


def test_closure_of_every_component_is_found_fast_and_imports_none() -> None:
    script = (
        "import sys, time; from pathlib import Path; from components import sources;"
        "files = sorted(Path('components').resolve().glob('*.py'));"
        "began = time.process_time(); before = set(sys.modules);"
        "[sources.source_files(path) for path in files];"
        "print(time.process_time() - began); "
        "new = set(sys.modules) - before;"
        "print([name for name in new if name.startswith(('rmtl_tf', 'components'))])"
    )
    command = [sys.executable, "-c", script]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    seconds, imported = answer.stdout.splitlines()
    assert imported == "[]"
    assert float(seconds) < 0.6, "expected about 0.3 s on a quiet machine"


def test_class_without_a_file_is_refused() -> None:
    built = type("Built", (Component,), {"__module__": "nowhere"})
    with pytest.raises(TypeError, match="Built: no source file"):
        sources.source_digest(built)


@pytest.mark.parametrize(
    ("component", "folder"),
    [
        ("Trainer", "backbones"),
        ("Trainer", "weighting"),
        ("Trainer", "layers"),
        ("ExampleGen", "data/datasets"),
    ],
)
def test_a_step_depends_on_every_part_its_configuration_can_name(component, folder):
    """Editing a backbone must not leave an old training cached: registries name modules only in strings."""
    from components.example_gen import ExampleGen
    from components.trainer import Trainer

    project = Path(__file__).resolve().parents[2]
    own = Path(inspect.getsourcefile({"Trainer": Trainer, "ExampleGen": ExampleGen}[component]))
    files = source_files(own, project)
    assert set((project / "rmtl_tf" / folder).glob("*.py")) <= set(files)
