"""The command line: what it accepts, and what it says of what it doesn't."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import pem
from twisted.internet.protocol import Factory

from tcpd.handlers.chargen import Chargen
from tcpd.tap import Options

FILE = """
[listeners.first]
listen = "tcp:7000"
handler = "chargen"
options = { limit = 5 }
tls = { certificate = "cert.pem", alpn = ["x"] }
"""


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.signal(signal.SIGINT, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def parse(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(list(arguments))
    return options


def listener(*arguments: str, name: str = "main"):
    configuration = parse(*arguments).configuration
    assert configuration is not None
    return configuration.listeners[name]


def endpoints(*arguments: str, name: str = "main") -> list[str]:
    return [each.text for each in listener(*arguments, name=name).listen]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["tcp:9999:interface=127.0.0.1"]),
        (["--port", "0"], ["tcp:0:interface=127.0.0.1"]),
        (["-p", "7", "--interface", "0.0.0.0"], ["tcp:7:interface=0.0.0.0"]),
        (["--interface", "::1"], [r"tcp6:9999:interface=\:\:1"]),
        (["--listen", "tcp:1", "--listen", "unix:/x"], ["tcp:1", "unix:/x"]),
        (["--listen", "tcp:1", "--port", "2"], ["tcp:1", "tcp:2:interface=127.0.0.1"]),
    ],
)
def test_where_to_listen(arguments: list[str], expected: list[str]) -> None:
    assert endpoints(*arguments) == expected


def test_no_arguments_are_echo() -> None:
    assert listener().handler == "echo"


def test_a_handler_and_its_options_have_the_types_of_its_fields() -> None:
    found = listener("--handler", "chargen", "--option", "limit=3")
    assert isinstance(found.factory, Chargen)
    assert found.factory.limit == 3


def test_a_handler_in_a_file_of_this_directory() -> None:
    Path("mine.py").write_text(
        "from twisted.internet.protocol import Protocol\nclass Mine(Protocol): pass\n"
    )
    assert isinstance(listener("--handler", "mine.py:Mine").factory, Factory)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prot", "1"], "tcpd: option --prot not recognized; did you mean '--port'?"),
        (["--port"], "tcpd: option --port requires argument; twistd tcpd --help lists the options"),
        (
            ["--port", "70000"],
            "tcpd: --port: '70000' isn't a valid port; a port is a number from 0 to 65535",
        ),
        (["--port", "-1"], "tcpd: --port: '-1' isn't a valid port"),
        (["--port", "http"], "tcpd: --port: 'http' isn't a valid port"),
        (
            ["--interface", "localhost"],
            "tcpd: --interface: 'localhost' isn't an IP address; 127.0.0.1",
        ),
        (
            ["--listen", "tcp:x"],
            "tcpd: --listen: 'tcp:x' isn't a valid endpoint: port: expected a port",
        ),
        (["--listen", "nosuch:1"], "tcpd: --listen: no kind of endpoint is called 'nosuch'"),
        (["--handler", "ecoh"], "tcpd: --handler: no handler 'ecoh'; did you mean 'echo'?"),
        (
            ["--handler", "no.py:A"],
            "tcpd: --handler: the handler 'no.py:A' can't be loaded: there is",
        ),
        (
            ["--listen", r"tcp6:80:interface=\:\:zz"],
            r"tcpd: --listen: 'tcp6:80:interface=\:\:zz' isn't a valid endpoint: interface: ",
        ),
        (
            ["--handler", "tcpd.units:Seconds"],
            "tcpd: --handler: the handler 'tcpd.units:Seconds' is",
        ),
        (
            ["--handler", "pathlib:Path"],
            "tcpd: --handler: the handler 'pathlib:Path' is another class; expected a Twisted",
        ),
        (["--option", "x"], "tcpd: --option 'x': expected key=value"),
        (["--option", "x=1"], "tcpd: --option x: unknown key"),
        (["--port", ""], "tcpd: --port: '' isn't a valid port"),
        (["--interface", ""], "tcpd: --interface: '' isn't an IP address"),
        (["--listen", ""], "tcpd: --listen: '' isn't a valid endpoint: it is empty"),
        (["--handler", ""], "tcpd: --handler: no handler ''; known are"),
        (["--config", ""], "tcpd: --config: expected a file, not an empty text"),
        (
            ["--handler", "no.py"],
            "tcpd: --handler: no handler 'no.py'; which class in it? write 'no.py:Class'\n",
        ),
        (["--handler", "reply"], "tcpd: --option: 'reply' would never say anything; give it"),
        (["--handler", "reply", "--option", "rules=no.toml"], "tcpd: --option rules: /"),
        (
            ["--handler", "reply", "--option", "default=a", "--option", "default=b"],
            "tcpd: --option default: is given more than once; it takes one value\n",
        ),
        (
            ["--handler", "reply", "--option", "rules=a", "--option", "rules=b"],
            "tcpd: --option rules: is given more than once; it takes one value\n",
        ),
        (
            ["--handler", "chargen", "--option", "limit=many"],
            "tcpd: --option limit: 'many' isn't a size",
        ),
        (["--tls-key", "k"], "tcpd: --tls-key: a key without a certificate; add --tls-certificate"),
        (["--tls-certificate", "no.pem"], "tcpd: --tls-certificate: "),
        (["extra"], "tcpd: unexpected argument 'extra'"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--check-config", *arguments)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith(message)
    assert said.err.count("\n") == 1
    assert said.out == ""


NEEDY = """
from dataclasses import dataclass
from twisted.internet.protocol import Factory

@dataclass
class Needy(Factory):
    n: int
    words: tuple[str, ...] = ()
"""


@pytest.mark.parametrize("file", ["", '[listeners.a]\nlisten = "tcp:0"\n'])
def test_an_option_that_has_to_be_there_is_named_as_it_would_be_given(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("needy.py").write_text(NEEDY)
    Path("c.toml").write_text(file)
    with pytest.raises(SystemExit) as caught:
        parse(*(["--config", "c.toml"] if file else []), "--handler", "needy.py:Needy")
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "tcpd: --option n=...: is missing; expected a whole number\n"
    )


def test_an_option_that_is_a_list_may_be_given_again_and_with_commas() -> None:
    Path("needy.py").write_text(NEEDY)
    options = [f"--option={each}" for each in ("n=1", "words=a,b", "words=c")]
    assert listener("--handler", "needy.py:Needy", *options).factory.words == ("a", "b", "c")


def test_a_port_that_is_empty_does_not_leave_the_files_in_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("c.toml").write_text('[listeners.a]\nlisten = "tcp:0"\n')
    with pytest.raises(SystemExit) as caught:
        parse("--config", "c.toml", "--port", "")
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("tcpd: --port: '' isn't a valid port")


def test_a_file_with_mistakes_is_told_whole_and_status_78(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("bad.toml").write_text('[listeners.a]\nlisten = "tcp:0"\nx = 1\n[log]\nlevel = "loud"\n')
    with pytest.raises(SystemExit) as caught:
        parse("--config", "bad.toml")
    assert caught.value.code == 78
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["bad.toml:3", "bad.toml:5"]


def test_flags_go_over_the_only_listener_of_a_file() -> None:
    pem.write(Path("cert.pem"))
    Path("c.toml").write_text(FILE)
    same = listener("--config", "c.toml", name="first")
    assert [each.text for each in same.listen] == ["tcp:7000"]
    found = listener("--config", "c.toml", "--port", "0", "--option", "limit=9", name="first")
    assert [each.text for each in found.listen] == ["tcp:0:interface=127.0.0.1"]
    assert (found.handler, found.factory.limit) == ("chargen", 9)
    assert found.tls.alpn == ("x",)


def test_another_handler_does_not_get_the_options_of_the_files() -> None:
    pem.write(Path("cert.pem"))
    Path("c.toml").write_text(FILE)
    found = listener("--config", "c.toml", "--handler", "discard", name="first")
    assert (found.handler, dict(found.options)) == ("discard", {})


def test_a_certificate_of_the_command_line_goes_without_the_files_key() -> None:
    for name in ("cert.pem", "key.pem", "other.pem"):
        pem.write(Path(name))
    Path("c.toml").write_text(FILE.replace("alpn", 'key = "key.pem", alpn'))
    found = listener("--config", "c.toml", "--tls-certificate", "other.pem", name="first")
    assert (found.tls.certificate.name, found.tls.key) == ("other.pem", None)


def test_flags_cannot_go_over_several_listeners(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_text('[listeners.a]\nlisten="tcp:1"\n[listeners.b]\nlisten="tcp:2"\n')
    with pytest.raises(SystemExit):
        parse("--config", "c.toml", "--port", "0")
    assert (
        "the file has the listeners a, b, and flags can change only one" in capsys.readouterr().err
    )


def test_check_config_prints_ok_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--check-config")
    assert (caught.value.code, capsys.readouterr()) == (0, ("ok\n", ""))


def test_print_config_is_a_file_that_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--listen", r"unix:/a\:b", "--handler", "chargen", "--option", "limit=2",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        parse("--print-config", *arguments)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert tomllib.loads(text)["listeners"]["main"]["options"]["limit"] == 2
    Path("printed.toml").write_text(text)
    printed = parse("--config", "printed.toml").configuration
    given = parse(*arguments).configuration
    assert printed is not None
    assert given is not None
    assert printed.listeners["main"].factory == given.listeners["main"].factory
    assert printed.listeners["main"].listen == given.listeners["main"].listen
    assert printed.log == given.log


def test_print_config_escapes_what_toml_wants_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    name = 'a"b\\c\td\x7f.log'
    Path("c.toml").write_text(
        '[listeners."x.y"]\nlisten="tcp:0"\n[log]\nfile="a\\"b\\\\c\\td\\u007f.log"\n'
    )
    with pytest.raises(SystemExit):
        parse("--print-config", "--config", "c.toml")
    printed = tomllib.loads(capsys.readouterr().out)
    assert Path(printed["log"]["file"]).name == name
    assert list(printed["listeners"]) == ["x.y"]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parse("--print-config", *arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_print_config_names_files_so_that_it_holds_in_any_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Path("needy.py").write_text(NEEDY)
    Path("sub").mkdir()
    Path("sub/c.toml").write_text(
        '[listeners.a]\nlisten = "tcp:0"\nhandler = "../needy.py:Needy"\noptions.n = 1\n'
        '[listeners.b]\nlisten = "tcp:0"\nhandler = "logging"\n'
        'options = { then = "../needy.py:Needy", then_options = { n = 2 } }\n'
        '[connectors.c]\nconnect = "tcp:h:1"\nhandler = "../needy.py:Needy"\noptions.n = 3\n'
    )
    text = printed(capsys, "--config", "sub/c.toml")
    there = f"{tmp_path}/needy.py:Needy"
    assert tomllib.loads(text)["listeners"]["a"]["handler"] == there
    Path("elsewhere").mkdir()
    Path("elsewhere/c.toml").write_text(text)
    assert printed(capsys, "--config", "elsewhere/c.toml") == text


def test_print_config_writes_any_number_and_key_as_toml(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("needy.py").write_text(NEEDY.replace("n: int", "n: int\n    any: dict[str, object]"))
    Path("c.toml").write_text(
        '[listeners.a]\nlisten = "tcp:0"\nhandler = "needy.py:Needy"\noptions.n = 1\n'
        '[listeners.a.options.any]\ni = inf\nj = [-inf, nan, 1e-9, 1e300, 1.0]\n"\\u001b\\n" = 5\n'
        f'{"k" * 300} = 1\n["listeners".a.options.any."x\\u007f y"]\nz = 1\n'
    )
    said = tomllib.loads(printed(capsys, "--config", "c.toml"))["listeners"]["a"]["options"]["any"]
    assert repr(said) == repr(
        {
            "i": float("inf"),
            "j": [float("-inf"), float("nan"), 1e-9, 1e300, 1.0],
            "\x1b\n": 5,
            "k" * 300: 1,
            "x\x7f y": {"z": 1},
        }
    )


def test_addresses_given_twice_are_told_as_they_were_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--listen", "tcp:9999", "--listen", "tcp:9999")
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "tcpd: --listen: *:9999 is taken by 'tcp:9999', which is given too;"
        " choose another address\n"
    )


def test_the_version_names_all_three(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--version")
    assert caught.value.code == 0
    assert re.fullmatch(
        r"tcpd \d+\.\d+\.\d+ \(Twisted [\d.]+, Python [\d.a-z+]+\)\n", capsys.readouterr().out
    )


def test_the_handlers_are_listed_with_their_summaries(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--list-handlers")
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert "echo     Send everything back as it came (RFC 862)." in lines
    assert len(lines) >= 7


def test_parsing_imports_no_reactor() -> None:
    program = (
        "import sys; from tcpd.tap import Options; Options().parseOptions(['--port', '0']);"
        " sys.exit('twisted.internet.reactor' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize(
    ("parent", "argument", "waits"),
    [({}, "--port=0", True), ({}, "--check-config", False), (None, "--port=0", False)],
)
def test_a_hup_waits_from_when_the_configuration_is_read_if_a_daemon_comes_of_it(
    parent: dict[str, str] | None, argument: str, waits: bool
) -> None:
    options = Options()
    options.parent = parent
    with suppress(SystemExit):
        options.parseOptions([argument])
    assert (signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, [])) is waits


@pytest.mark.parametrize("target", ["file", "nowhere"])
def test_a_pid_file_that_is_a_link_is_refused(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("kept")
    Path("link").symlink_to(target)
    options = Options()
    options.parent = {"pidfile": "link"}
    with pytest.raises(SystemExit) as ended:
        options.parseOptions([])
    assert ended.value.code == 2
    expected = "tcpd: --pidfile: 'link' is a symbolic link; name its target\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("parent", [{"pidfile": ""}, {"pidfile": "file"}, {}, None])
def test_other_pid_files_and_none_are_fine(parent: dict[str, str] | None) -> None:
    Path("file").write_text("")
    options = Options()
    options.parent = parent
    options.parseOptions([])
    assert options.configuration is not None
