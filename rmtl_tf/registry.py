"""Names of parts (backbones, weightings, readers), each imported only when it is used.

A registry is read while a configuration is checked, before anything heavy is imported: a misspelt
name is refused at once, not after the data has been prepared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rmtl_tf.errors import UserError, nearest


class Registry(Mapping[str, Any]):
    """Name -> object, from lines `"name": "package.module:object"`.

    Module names are written in full: so the runner, which reads imports and such strings, knows that a
    step depends on them.

    Args:
        field: the configuration field that holds a name, for errors.
        entries: one line a part.
        own: a user's own part may be named, as `package.module:object`; it is no entry.
    """

    def __init__(self, field: str, entries: Mapping[str, str], own: bool = False) -> None:
        self._field, self._entries, self._own = field, dict(entries), own

    def __getitem__(self, name: str) -> Any:
        """Imports and returns the object.

        Raises:
            UserError: no part has this name; the nearest is named.
        """
        module, _, attribute = self._entries.get(self.check(name), name).partition(":")
        try:
            return getattr(import_module(module), attribute)
        except AttributeError:
            raise UserError(
                f"{self._field}: expected {attribute} in {module}, which has none. Mend the name."
            ) from None

    def check(self, name: str) -> str:
        """`name`, if it is known; imports nothing, but of an own part the packages around its module.

        Raises:
            UserError: no part has this name, the nearest is named; or an own part's module is not found.
        """
        if name not in self._entries and self.own_file(name) is None:
            raise UserError(f'{self._field}: no "{name}"; {nearest(name, list(self._entries))}')
        return name

    def own_file(self, name: str) -> Path | None:
        """The file of a user's own part; None where `name` is not of the form `package.module:object`.

        Raises:
            UserError: its module is not found.
        """
        module, colon, attribute = name.partition(":")
        if not self._own or not (module and colon and attribute):
            return None
        try:
            found = find_spec(module)
        except (ImportError, ValueError):
            found = None
        if found is None or found.origin is None:
            raise UserError(
                f"{self._field}: expected package.module:Class of a module on Python's path, received "
                f"{name}. Put its folder on PYTHONPATH, or name one of: " + ", ".join(self._entries)
            )
        return Path(found.origin)

    def attribute(self, name: str) -> Any:
        """For a package's `__getattr__`: the object called `name` in Python.

        Raises:
            AttributeError: no entry has it.
        """
        for entry, target in self._entries.items():
            if target.endswith(f":{name}"):
                return self[entry]
        raise AttributeError(f"no part of {self._field} is called {name!r}")

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
