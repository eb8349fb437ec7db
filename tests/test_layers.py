"""Who imports whom: only towards the left, as the house is drawn.

Each row may import from the rows above it and from its own group; the groups that share a row never
import each other. What stands under TYPE_CHECKING doesn't run and doesn't count. What a function
imports when it is called does count.
"""

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "twisted" / "plugins" / "tcpd_plugin.py"

FOUNDATION = {
    *("errors", "escape", "units", "wording", "place", "scalars", "fields"),
    *("toml_lines", "toml_file"),
    *("event_names", "loading"),
    *("endpoint_kinds", "endpoint", "endpoint_plugins"),
}
# A name stands for a module or a package with all that is in it.
ROWS: list[list[set[str]]] = [
    [FOUNDATION],
    [{"events"}, {"taps"}, {"tally"}],
    [{"session"}],
    [{"framing"}],
    [{"interfaces"}],
    [
        *({"handlers"}, {"net"}, {"sinks"}, {"capture"}, {"admission"}),
        *({"relay"}, {"sd_listen"}, {"handler_life"}),
    ],
    [{"registry"}, {"sink_registry"}],
    [{"config"}],
    [{"serving"}, {"endpoint_making"}, {"plain_errors"}, {"pauses"}, {"tries"}],
    [{"listener"}, {"connector"}, {"client"}, {"testing"}, {"sd_notify"}, {"drain"}],
    [
        {"vitals"},
        {"stopping"},
        {"signals"},
        {"pid_file"},
        {"assembly"},
        {"roster"},
        {"descriptors"},
    ],
    [{"reload"}, {"admin"}],
    [{"daemon"}],
    [{"tap"}],
    [{"ctl"}],
]
# Who may ask for the one global reactor, and only in a function.
MAY_DEFAULT_THE_REACTOR = {"tcpd.tap", "tcpd.client.main"}  # each is what a command starts


@dataclass(frozen=True)
class Import:
    name: str
    line: int
    at_top: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "tcpd").rglob("*.py"))}


def imports_of(source: str) -> Iterator[Import]:
    """Give what a module imports when it runs."""
    yield from _imports(ast.parse(source).body, at_top=True)


def _imports(nodes: Iterable[ast.AST], *, at_top: bool) -> Iterator[Import]:
    for child in nodes:
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_top)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute here"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                known = whole in MODULES or whole == "twisted.internet.reactor"
                yield Import(whole if known else str(child.module), child.lineno, at_top)
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            yield from _imports(child.orelse, at_top=at_top)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            inner = ast.iter_child_nodes(child)
            yield from _imports(inner, at_top=at_top and not function)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def place(module: str) -> tuple[int, int] | None:
    """Return a module's row and its group there; None if nobody has given it one."""
    first = module.split(".")[1]
    for row, groups in enumerate(ROWS):
        for number, group in enumerate(groups):
            if first in group:
                return row, number
    return None


def offence(importer: str, imported: str) -> str:
    """Return what is wrong with an import, or nothing."""
    if imported == "tcpd" or not imported.startswith("tcpd."):
        return ""
    mine, theirs = place(importer), place(imported)
    if mine is None or theirs is None:
        return f"{importer if mine is None else imported} has no layer"
    if theirs[0] > mine[0]:
        return f"{importer} imports {imported}, which stands to its right"
    if theirs[0] == mine[0] and theirs[1] != mine[1]:
        return f"{importer} imports its sibling {imported}"
    return ""


def test_each_module_has_a_layer() -> None:
    assert [name for name in MODULES if name != "tcpd" and place(name) is None] == []


def test_each_layer_has_its_modules() -> None:
    named = {name for groups in ROWS for group in groups for name in group}
    assert named == {name.split(".")[1] for name in MODULES if name != "tcpd"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_to_the_left(module: str) -> None:
    found = [
        f"line {each.line}: {wrong}"
        for each in imports_of(MODULES[module].read_text())
        if (wrong := offence(module, each.name))
    ]
    assert found == []


def test_nothing_imports_in_a_circle() -> None:
    graph = {
        name: {
            each.name
            for each in imports_of(path.read_text())
            if each.at_top and each.name in MODULES and each.name not in (name, "tcpd")
        }
        for name, path in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("module", MODULES)
def test_the_reactor_is_an_argument(module: str) -> None:
    asked = [each for each in imports_of(MODULES[module].read_text()) if _is_reactor(each)]
    assert not [each.line for each in asked if each.at_top]
    assert not asked or module in MAY_DEFAULT_THE_REACTOR


def _is_reactor(each: Import) -> bool:
    return each.name == "twisted.internet.reactor"


@pytest.mark.parametrize(
    ("importer", "imported", "wrong"),
    [
        ("tcpd.errors", "tcpd.session", "right"),
        ("tcpd.handlers.echo", "tcpd.registry", "right"),
        ("tcpd.handlers.echo", "tcpd.net.port", "sibling"),
        ("tcpd.listener", "tcpd.connector", "sibling"),
        ("tcpd.config.load", "tcpd.listener", "right"),
        ("tcpd.newcomer", "tcpd.errors", "no layer"),
        ("tcpd.daemon", "tcpd.newcomer", "no layer"),
        ("tcpd.session", "tcpd.events", ""),
        ("tcpd.handlers.reply", "tcpd.handlers.recording", ""),
        ("tcpd.tap", "tcpd", ""),
        ("tcpd.errors", "twisted.logger", ""),
    ],
)
def test_the_rule_itself(importer: str, imported: str, wrong: str) -> None:
    found = offence(importer, imported)
    assert wrong in found
    assert bool(found) == bool(wrong)


def test_how_imports_are_found() -> None:
    source = """
import tcpd.errors, os
from tcpd.net import port, nothing
from twisted.internet import reactor
if TYPE_CHECKING:
    import tcpd.tap
else:
    import tcpd.units
def f():
    from twisted.internet import reactor
class C:
    import tcpd.session
"""
    found = {(each.name, each.at_top) for each in imports_of(source)}
    assert found == {
        ("tcpd.errors", True),
        ("os", True),
        ("tcpd.net.port", True),
        ("tcpd.net", True),
        ("twisted.internet.reactor", True),
        ("tcpd.units", True),
        ("twisted.internet.reactor", False),
        ("tcpd.session", True),
    }


# -- what is true when it runs, whatever the source looks like ------------------------------------


def modules_after(program: str) -> set[str]:
    """Return what is in sys.modules after a program has run in a process of its own."""
    program += "\nimport sys\nprint(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("package", sorted({name.split(".")[1] for name in MODULES if "." in name}))
def test_importing_installs_no_reactor(package: str) -> None:
    names = [name for name in MODULES if name.split(".")[1:2] == [package]]
    loaded = modules_after("\n".join(f"import {name}" for name in names))
    assert set(names) <= loaded
    assert "twisted.internet.reactor" not in loaded


def test_the_plugin_file_imports_nothing_of_ours_and_no_reactor() -> None:
    loaded = modules_after(f"import runpy\nrunpy.run_path({str(PLUGIN)!r})")
    assert "twisted.application.service" in loaded
    assert not [name for name in loaded if name.split(".")[0] == "tcpd"]
    assert "twisted.internet.reactor" not in loaded


def test_the_foundation_and_the_configuration_know_no_twisted() -> None:
    names = [name for name in MODULES if name.split(".")[1:2] == ["config"]]
    names += [f"tcpd.{name}" for name in FOUNDATION - {"endpoint_plugins"}]
    loaded = modules_after("\n".join(f"import {name}" for name in names))
    assert "tcpd.config.schema" in loaded
    assert not [name for name in loaded if name.split(".")[0] in ("twisted", "zope")]


def test_the_help_of_twistd_imports_nothing_of_ours_but_the_plugin_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("twistd")), "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "twisted.application.app" in imported
    assert not [name for name in imported if name.split(".")[0] == "tcpd"]
    assert " tcpd " in done.stdout
