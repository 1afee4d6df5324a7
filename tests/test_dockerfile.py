"""The image: what the Dockerfile names is there, and is what the project says elsewhere."""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
COPIED = [
    source
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    for source in line.split()[:-1]
]


def test_every_copied_path_exists_and_is_sent_to_the_builder() -> None:
    rules = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[0] == "*"
    for path in COPIED:
        assert (REPOSITORY / path).exists(), path
        assert path in sent, f"{path} is not in .dockerignore's exceptions"
    assert sent == set(COPIED)


def test_nothing_private_or_large_is_copied() -> None:
    for pattern in (".git*", ".venv*", "tests*", "runs"):
        assert not fnmatch.filter(COPIED, pattern)


def test_the_image_has_the_projects_python_and_the_locked_packages() -> None:
    versions = set(re.findall(r"^FROM python:([\d.]+)-slim", DOCKERFILE, re.MULTILINE))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert versions == {project["tool"]["mypy"]["python_version"]}
    assert project["project"]["requires-python"] == f">={min(versions)}"
    assert versions == {f"{sys.version_info.major}.{sys.version_info.minor}"}
    assert "requirements.txt" in COPIED


def test_whatever_a_step_imports_of_this_repository_is_in_the_image() -> None:
    """Modules of the copied packages import only copied ones (serving, tests, benchmarks are not)."""
    ours = {path.name.removesuffix(".py") for path in REPOSITORY.iterdir() if not path.name.startswith(".")}
    copied = {path.removesuffix(".py") for path in COPIED}
    for source in [REPOSITORY / "pipeline.py", *(f for p in COPIED for f in (REPOSITORY / p).rglob("*.py"))]:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                assert top not in ours or top in copied, f"{source.relative_to(REPOSITORY)} imports {name}"


@pytest.mark.parametrize("name", ["WORKDIR /app", "ENTRYPOINT", "USER rmtl"])
def test_the_image_starts_in_the_repository_as_no_root(name: str) -> None:
    assert re.search(rf"^{name}", DOCKERFILE, re.MULTILINE)


def test_requirements_have_kfp_for_the_executor() -> None:
    assert re.search(r"^kfp==", (REPOSITORY / "requirements.in").read_text(), re.MULTILINE)
