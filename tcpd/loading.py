"""Code that a configuration names: `package.module:Class`, or `path/to/file.py:Class`.

Rules:
- Whatever somebody else's code raises when it is imported becomes a `TcpdError` of the caller's
  kind, with the reason in one line and its place.
- A file is executed once, and again when it is asked for after what stands in it has changed.
  Modules are imported once, as everywhere in Python.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tcpd.errors import TcpdError, did_you_mean
from tcpd.escape import escape_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Loads what is named of one kind.

    Attributes:
        kind: what it is called: `handler`.
        error: the error to raise.
        is_one: tells whether an object is of the kind.
    """

    kind: str
    error: type[TcpdError]
    is_one: Callable[[Any], bool]

    def load(self, name: str, base: Path | None) -> Any:
        """Return the object behind `module:Class` or `file.py:Class`.

        Args:
            name: the name; it has a colon.
            base: the directory that a relative file is looked up in; the current one by default.

        Raises:
            TcpdError: of the class `error`; the text says why it can't be had.
        """
        target, _, attribute = name.rpartition(":")
        if not target or not attribute:
            raise self.error(
                f"{name!r} isn't a {self.kind}'s name; write 'module:Class' or"
                " 'path/to/file.py:Class'"
            )
        if target.endswith(".py"):
            return self._attribute(self._load_file(name, target, base), attribute, name)
        return self._attribute(self._import(name, target), attribute, name)

    def load_built_in(self, name: str, where: str) -> Any:
        """Return what is built in under a name; `where` is its `module:Class`."""
        module, _, attribute = where.partition(":")
        return self._attribute(self._import(name, module), attribute, name)

    def load_plugin(self, name: str, entry: EntryPoint) -> Any:
        """Return what an installed plugin brings under a name."""
        return self._guarded(f"the plugin {name!r} ({entry.value})", entry.load)

    def no_such(self, name: str, known: list[str]) -> TcpdError:
        """Return the error for a name that nothing bears; `known` are those that something does."""
        hint = did_you_mean(name, known)
        if name.endswith(".py"):
            problem = f"which class in it? write '{escape_text(name, limit=100)}:Class'"
            return self.error(f"no {self.kind} {name!r}; {problem}")
        others = f"known are {', '.join(known)}; 'module:Class' and 'file.py:Class' work too"
        return self.error(f"no {self.kind} {name!r}; {hint + ' ' if hint else ''}{others}")

    def _import(self, name: str, module: str) -> ModuleType:
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; `twistd` alone does not
        what = f"the {self.kind} {name!r}"
        found: ModuleType = self._guarded(what, lambda: importlib.import_module(module))
        return found

    def _load_file(self, name: str, file: str, base: Path | None) -> ModuleType:
        path = ((base or Path.cwd()) / Path(file).expanduser()).absolute()
        cannot = f"the {self.kind} {name!r} can't be loaded"
        if not path.is_file():
            raise self.error(f"{cannot}: there is no file {str(path)!r}")
        try:
            source = path.read_bytes()
        except OSError as error:
            problem = f"{str(path)!r} can't be read: {error.strerror}"
            raise self.error(f"{cannot}: {problem}") from None
        known = _files.get(path)
        if known is not None and known[0] == source:
            return known[1]
        # The module bears the file's name, so that its loggers do; the directory is importable, as
        # it is for `python file.py`.
        module_name = path.stem if path.stem.isidentifier() else f"tcpd_{self.kind}_file"
        there = sys.modules.get(module_name)
        if there is not None and getattr(there, "__file__", "") != str(path):
            module_name = f"tcpd_{self.kind}_{path.stem}"
        loader = SourceFileLoader(module_name, str(path))
        spec = importlib.util.spec_from_file_location(module_name, path, loader=loader)
        if spec is None:
            raise self.error(f"{cannot}: {str(path)!r} isn't a Python file")
        module = importlib.util.module_from_spec(spec)
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        with _known_as(module_name, module):
            # Not by way of Python's cache, which takes a change within a second for none.
            code = partial(loader.source_to_code, source, str(path))
            self._guarded(f"the {self.kind} {name!r}", lambda: _execute(code(), module))
        _files[path] = source, module
        return module

    def _guarded(self, what: str, load: Callable[[], Any]) -> Any:
        """Call `load`; whatever it raises becomes an error with the reason and its place."""
        try:
            return load()
        except BaseException as error:  # KeyboardInterrupt and the like, too: it is anybody's code
            raise self.error(f"{what} failed to import: {told(error, __file__)}") from error

    def _attribute(self, module: ModuleType, attribute: str, name: str) -> Any:
        try:
            return getattr(module, attribute)
        except AttributeError:
            public = [n for n, value in vars(module).items() if self.is_one(value) and n[0] != "_"]
            own = [
                n
                for n in public
                if getattr(getattr(module, n), "__module__", "") == module.__name__
            ]
            has = f"it has {', '.join(own)}" if own else f"there is no {self.kind} in it"
            hint = did_you_mean(attribute, own) or has
            raise self.error(
                f"the {self.kind} {name!r} can't be found: {module.__name__} has no"
                f" {attribute!r}; {hint}"
            ) from None


# What was loaded from files: their content, and the module that came of it.
_files: dict[Path, tuple[bytes, ModuleType]] = {}


def _execute(code: CodeType, module: ModuleType) -> None:
    exec(code, vars(module))  # noqa: S102  (the operator's own file, which was named for this)


@contextmanager
def _known_as(name: str, module: ModuleType) -> Iterator[None]:
    """Have a module in `sys.modules`, where dataclasses look theirs up; not if it fails to load."""
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    except BaseException:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise


def told(error: BaseException, *callers: str) -> str:
    """Return an error in one line, with the file and line it comes from.

    Args:
        error: the error.
        callers: files of ours, which nobody needs to be told of.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SyntaxError):
        return text
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename not in callers]
    frames = [f for f in frames if "importlib" not in f.filename]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text
