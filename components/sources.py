"""The source a component depends on, found without importing anything.

A component's result depends on its own file and on every project module that file imports,
directly or through others. They are found in the syntax trees: imports inside functions count, and
so do string constants that name a project module (`"rmtl_tf.backbones.ple:PLE"` of a registry, or
the constant part of `f"rmtl_tf.backbones.{name}"`: then every module of that package). Files that
are not Python but lie in a package (templates) belong to the package's modules.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("rmtl_tf", "components")
_STARTS = tuple(f"{package}." for package in PACKAGES)


def source_digest(component: type, project: Path = PROJECT) -> str:
    """sha256 over the files of `source_files`; found once per process."""
    return _digest(_own_file(component), project)


@cache
def _digest(own: Path, project: Path) -> str:
    digest = hashlib.sha256()
    for path in source_files(own, project):
        name = path.relative_to(project) if path.is_relative_to(project) else path.name
        digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def source_files(own: Path, project: Path = PROJECT) -> list[Path]:
    """`own` and every project file it needs, transitively; sorted.

    Raises:
        SyntaxError: a file is no valid Python.
    """
    found = {own}
    waiting = [own]
    while waiting:
        path = waiting.pop()
        for needed in _needs(path, project) - found:
            found.add(needed)
            if needed.suffix == ".py":
                waiting.append(needed)
    return sorted(found)


@cache
def _needs(path: Path, project: Path) -> set[Path]:
    """The project files that the Python file `path` names itself."""
    files: set[Path] = set()
    for name in _names(ast.parse(path.read_bytes(), str(path)), _package_of(path, project)):
        files.update(_files_of(name, project))
    return files


def _names(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that may be modules; a trailing dot stands for all modules of a package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_dotted(node.value):
            yield node.value.split(":")[0]


def _is_dotted(text: str) -> bool:
    """True for text such as `rmtl_tf.rl.agent`, `rmtl_tf.rl.agent:Agent`, `rmtl_tf.backbones.`."""
    return text.startswith(_STARTS) and " " not in text and "/" not in text


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _package_of(path: Path, project: Path) -> str:
    if not path.is_relative_to(project):
        return ""
    return ".".join(path.relative_to(project).parent.parts)


@cache
def _files_of(name: str, project: Path) -> frozenset[Path]:
    """Files of the module `name`, with those of the packages around it; empty if it is not ours."""
    parts = [part for part in name.split(".") if part]
    if not parts or parts[0] not in PACKAGES:
        return frozenset()
    files: set[Path] = set()
    folder = project
    for part in parts:
        module = folder / f"{part}.py"
        folder = folder / part
        if folder.is_dir():
            files.update(_package_files(folder))
        elif module.is_file():
            files.add(module)
            break
        else:
            break
    if name.endswith(".") and folder.is_dir():
        files.update(folder.glob("*.py"))
    return frozenset(files)


@cache
def _package_files(folder: Path) -> frozenset[Path]:
    """`__init__.py` of a package, and its files that are not Python."""
    files = set()
    for path in folder.iterdir():
        data = path.suffix not in (".py", ".pyc") and not path.name.startswith(".") and path.name[-1] != "~"
        if (data or path.name == "__init__.py") and path.is_file():
            files.add(path)
    return frozenset(files)


def _own_file(component: type) -> Path:
    try:
        path = inspect.getsourcefile(component)
    except (OSError, TypeError):
        path = None
    if path is None:
        raise TypeError(f"{component.__name__}: no source file; define a component in a module")
    return Path(path).resolve()
