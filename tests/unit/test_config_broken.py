"""Broken configurations by the dozen: each mistake is told with its line, its key, and a remedy."""

import re
from pathlib import Path

import pytest
from helpers import config_handlers, pem

from tcpd.config.load import build_config, load
from tcpd.errors import ConfigErrors
from tcpd.registry import build_handler
from tcpd.toml_file import TomlFile

ENDPOINT = "expected an endpoint such as 'tcp:9999'"
NAME_HINT = "a name has 1 to 64 of the characters A-Z a-z 0-9 _ . -"
HOST_NAME = "expected a host name such as 'example.org' or '*.example.org'"
THERE_IS = "known are echo, required, rules, unmakable; 'module:Class' and 'file.py:Class' work too"
NOTHING = (
    "x.toml: there is nothing to run in it; add a [listeners.NAME] with a 'listen', or a"
    " [connectors.NAME] with a 'connect'"
)

# The text of a file, and the lines that its errors make.
BROKEN: dict[str, tuple[str, list[str]]] = {
    "an empty file": ("", [NOTHING]),
    "only a log": ('[log]\nlevel = "info"\n', [NOTHING]),
    "an empty table of listeners": ("[listeners]\n[connectors]\n", [NOTHING]),
    "an unknown table": (
        '[listener.a]\nlisten = "tcp:1"\n',
        [NOTHING, "x.toml:1: listener: unknown key; did you mean 'listeners'?"],
    ),
    "an unknown key at the top": (
        'zzz = 1\n[listeners.a]\nlisten = "tcp:1"\n',
        [
            (
                "x.toml:1: zzz: unknown key; known here: listeners, connectors, log, stop, sinks,"
                " admin, capture"
            )
        ],
    ),
    "listeners is no table": (
        'listeners = "tcp:1"\n',
        ["x.toml:1: listeners: expected a table of named tables; write [listeners.NAME]"],
    ),
    "listeners is an array of tables": (
        '\n[[listeners]]\nlisten = "tcp:1"\n',
        ["x.toml:2: listeners: expected a table of named tables; write [listeners.NAME]"],
    ),
    "a listener without a name": (
        '[listeners]\nlisten = "tcp:1"\n',
        ["x.toml:2: listeners.listen: expected a table, not 'tcp:1'"],
    ),
    "a name with a blank in it": (
        '\n[listeners."my echo"]\nlisten = "tcp:1"\n',
        [f'x.toml:2: listeners."my echo": this isn\'t a valid name; {NAME_HINT}'],
    ),
    "an empty name": (
        '[listeners.""]\nlisten = "tcp:1"\n',
        [f'x.toml:1: listeners."": this isn\'t a valid name; {NAME_HINT}'],
    ),
    "a name that is too long": (
        f'[connectors.{"a" * 65}]\nconnect = "tcp:h:1"\n',
        [f"x.toml:1: connectors.{'a' * 65}: this isn't a valid name; {NAME_HINT}"],
    ),
    "a name with a control character": (
        '[listeners."a\\u001b[31m"]\nlisten = "tcp:1"\n',
        [f'x.toml:1: listeners."a\\x1b[31m": this isn\'t a valid name; {NAME_HINT}'],
    ),
    "a listener and a connector of one name": (
        '[listeners.a]\nlisten = "tcp:1"\n\n[connectors.a]\nconnect = "tcp:h:1"\n',
        ["x.toml:4: connectors.a: a listener has this name; choose another"],
    ),
    "a misspelled key": (
        '[listeners.a]\n# comment\nlisten = "tcp:1"\nhandelr = "echo"\n',
        ["x.toml:4: listeners.a.handelr: unknown key; did you mean 'handler'?"],
    ),
    "a key that nothing resembles": (
        '[listeners.a]\nlisten = "tcp:1"\nxyzzy = "echo"\n',
        [
            (
                "x.toml:3: listeners.a.xyzzy: unknown key; known here: access, capture, deadlines,"
                " handler, limits, listen, options, proxy, tls"
            )
        ],
    ),
    "a listener that doesn't listen": (
        '\n\n[listeners.a]\nhandler = "echo"\n',
        [
            (
                "x.toml:3: listeners.a: 'listen' is missing; expected an endpoint such as"
                " 'tcp:9999'"
                " or a list"
            )
        ],
    ),
    "a port where an endpoint should be": (
        "[listeners.a]\nlisten = 9999\n",
        [f"x.toml:2: listeners.a.listen: {ENDPOINT}"],
    ),
    "an endpoint without a kind": (
        '[listeners.a]\nlisten = "9999"\n',
        [
            (
                "x.toml:2: listeners.a.listen: '9999' isn't a valid endpoint: it doesn't"
                " begin with a kind; write"
                " 'tcp:9999'"
            )
        ],
    ),
    "an empty list of endpoints": (
        "[listeners.a]\nlisten = []\n",
        ["x.toml:2: listeners.a.listen: expected at least one, not an empty list"],
    ),
    "wrong endpoints in a list over several lines": (
        '[listeners.a]\nlisten = [\n  "tcp:1", # ]\n  "tcp:99999",\n\n  7,\n]\n',
        [
            (
                "x.toml:4: listeners.a.listen[1]: 'tcp:99999' isn't a valid endpoint: port:"
                " expected a port"
                " from 0 to 65535, not '99999'"
            ),
            f"x.toml:6: listeners.a.listen[2]: {ENDPOINT}",
        ],
    ),
    "an endpoint's unknown argument": (
        '[listeners.a]\nlisten = "tcp:1:interfaec=127.0.0.1"\n',
        [
            (
                "x.toml:2: listeners.a.listen: 'tcp:1:interfaec=127.0.0.1' isn't a valid"
                " endpoint: unknown"
                " argument 'interfaec'; did you mean 'interface'?"
            )
        ],
    ),
    "one address twice": (
        '[listeners.a]\nlisten = "tcp:1"\n[listeners.b]\nlisten = [\n"tcp:2",\n"tcp:1"]\n',
        [
            (
                "x.toml:6: listeners.b.listen[1]: *:1 is taken by listeners.a.listen (tcp:1);"
                " choose"
                " another address"
            )
        ],
    ),
    "one address twice in one listener": (
        '[listeners.a]\nlisten = ["tcp:1", "tcp6:1"]\n',
        [
            (
                "x.toml:2: listeners.a.listen[1]: [::]:1 is taken by listeners.a.listen[0] (tcp:1);"
                " choose another address"
            )
        ],
    ),
    "an unknown handler": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "ehco"\n',
        [f"x.toml:3: listeners.a.handler: no handler 'ehco'; did you mean 'echo'? {THERE_IS}"],
    ),
    "a handler that is no text": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = ["echo"]\n',
        ["x.toml:3: listeners.a.handler: expected a text, not a list"],
    ),
    "a handler that can't be made": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "unmakable"\n',
        ["x.toml:3: listeners.a.handler: the handler 'unmakable' can't be made: OSError: no luck"],
    ),
    "options that are no table": (
        '[listeners.a]\nlisten = "tcp:1"\noptions = "size=1"\n',
        ["x.toml:3: listeners.a.options: expected a table, not 'size=1'"],
    ),
    "options for a handler that takes none": (
        '[listeners.a]\nlisten = "tcp:1"\n[listeners.a.options]\nsize = 1\nrate = 2\n',
        [
            "x.toml:4: listeners.a.options.size: unknown key; the handler 'echo' takes no options",
            "x.toml:5: listeners.a.options.rate: unknown key; the handler 'echo' takes no options",
        ],
    ),
    "a handler's unknown option in an inline table": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "rules"\noptions = { siez = 1 }\n',
        ["x.toml:4: listeners.a.options.siez: unknown key; did you mean 'size'?"],
    ),
    "a handler's required option is missing": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "required"\n',
        ["x.toml:1: listeners.a.options: 'name' is missing; expected a text"],
    ),
    "a handler's required option is missing in a table": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "required"\n\n[listeners.a.options]\n',
        ["x.toml:5: listeners.a.options: 'name' is missing; expected a text"],
    ),
    "a size that is none": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "rules"\noptions.size = "big"\n',
        [
            (
                "x.toml:4: listeners.a.options.size: 'big' isn't a size; write one as '512',"
                " '64KiB' or"
                " '10MB'"
            )
        ],
    ),
    "a size below nothing": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "rules"\noptions.size = -1\n',
        [
            (
                "x.toml:4: listeners.a.options.size: expected a size such as '64KiB' or '10MB', not"
                " the number -1"
            )
        ],
    ),
    "a duration without a unit": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "rules"\n[listeners.a.options]\nwait = "30"\n',
        [
            (
                "x.toml:5: listeners.a.options.wait: '30' isn't a duration; write one as"
                " '30s', '5m',"
                " '1h30m' or '250ms'"
            )
        ],
    ),
    "a choice with a near miss": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "rules"\noptions = { framing = "lines" }\n',
        [
            (
                "x.toml:4: listeners.a.options.framing: expected 'raw' or 'line' or 'delimiter',"
                " not"
                " 'lines'; did you mean 'line'?"
            )
        ],
    ),
    "mistakes in arrays of tables": (
        """\
[listeners.a]
listen = "tcp:1"
handler = "rules"

[[listeners.a.options.rules]]
equals = "a"

[[listeners.a.options.rules]]
equal = "b"

[[listeners.a.options.rules]]
equals = "c"
after = -1
not = "yes"
""",
        [
            "x.toml:8: listeners.a.options.rules[1]: 'equals' is missing; expected a text",
            "x.toml:9: listeners.a.options.rules[1].equal: unknown key; did you mean 'equals'?",
            "x.toml:13: listeners.a.options.rules[2].after: expected 0 or more, not -1",
            "x.toml:14: listeners.a.options.rules[2].not: expected true or false, not 'yes'",
        ],
    ),
    "mistakes in inline tables over several lines of a list": (
        """\
[listeners.a]
listen = "tcp:1"
handler = "rules"
options.rules = [
  { equals = "}" }, { equals = 1 },

  { equals = "#]", after = 1.5 }, # { equals
  "rule",
]
""",
        [
            "x.toml:5: listeners.a.options.rules[1].equals: expected a text, not the number 1",
            (
                "x.toml:7: listeners.a.options.rules[2].after: expected a whole number, not the"
                " number 1.5"
            ),
            "x.toml:8: listeners.a.options.rules[3]: expected a table, not 'rule'",
        ],
    ),
    "mistakes that only the handler knows, after multi-line strings": (
        """\
[listeners.a]
listen = "tcp:1"
handler = "rules"
options.banner = \"\"\"
[listeners.b]
listen = 9
\\\"\"\" = \"\"\"
options.rules = [
  { equals = '''a
''' },
  { equals = "" },
  { equals = '''''' }]
""",
        [
            (
                "x.toml:11: listeners.a.options.rules[1].equals: an empty text never comes;"
                " leave it"
                " out"
            ),
            (
                "x.toml:12: listeners.a.options.rules[2].equals: an empty text never comes;"
                " leave it"
                " out"
            ),
        ],
    ),
    "a mistake after a literal multi-line string with headers in it": (
        (
            "[listeners.a]\nlisten = 'tcp:1'\nhandler = 'rules'\noptions.banner = '''\n[log]\n"
            "level = \"x\"\n'''\n[log]\nlevel = 'x'\n"
        ),
        [
            (
                "x.toml:9: log.level: expected 'debug' or 'info' or 'warn' or 'error' or"
                " 'critical',"
                " not 'x'"
            )
        ],
    ),
    "a handler that fails on its options": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "rules"\noptions.banner = "bug"\n',
        [
            (
                "x.toml:4: listeners.a.options: the handler 'rules' failed on its options:"
                " KeyError:"
                ' "a handler\'s own bug"'
            )
        ],
    ),
    "a number beyond 64 bits": (
        (
            '[listeners.a]\nlisten = "tcp:1"\nhandler = "rules"\n'
            f"options.headers = {{ a = 0x{'f' * 5000} }}\n"
        ),
        ["x.toml:4: listeners.a.options.headers.a: the number is too large; TOML's have 64 bits"],
    ),
    "a date where a text should be": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = 1979-05-27\n',
        ["x.toml:3: listeners.a.handler: expected a text, not the date or time 1979-05-27"],
    ),
    "an empty path": (
        '[listeners.a]\nlisten = "tcp:1"\nhandler = "rules"\noptions.file = ""\n',
        ["x.toml:4: listeners.a.options.file: expected a path, not an empty text"],
    ),
    "TLS without a certificate": (
        '[listeners.a]\nlisten = "tcp:1"\n[listeners.a.tls]\nalpn = "h2"\n',
        [
            "x.toml:3: listeners.a.tls: 'certificate' is missing; expected a path",
            "x.toml:4: listeners.a.tls.alpn: expected a list, not 'h2'",
        ],
    ),
    "TLS files that aren't there": (
        (
            '[listeners.a]\nlisten = "tcp:1"\ntls = { certificate = "/no/c", key = "/no/k", sni'
            " = [\n"
            '{ names = "x", certificate = "/no/d" }] }\n'
        ),
        [
            "x.toml:3: listeners.a.tls.certificate: /no/c can't be read: No such file or directory",
            "x.toml:3: listeners.a.tls.key: /no/k can't be read: No such file or directory",
            (
                "x.toml:4: listeners.a.tls.sni[0].certificate: /no/d can't be read: No such file or"
                " directory"
            ),
        ],
    ),
    "wrong names in sni and alpn": (
        """\
[listeners.a]
listen = "tcp:1"
[listeners.a.tls]
certificate = "/PEM"
alpn = ["h2", ""]
sni = [
  { names = [], certificate = "/PEM" },
  { names = ["ok.example", "a..b"], certificate = "/PEM" },
  { names = ["*"], certificate = "/PEM", kye = "x" },
]
""",
        [
            (
                "x.toml:5: listeners.a.tls.alpn[1]: expected a protocol's name of 1 to 255"
                " bytes, such"
                " as 'h2'"
            ),
            "x.toml:7: listeners.a.tls.sni[0].names: expected at least one, not an empty list",
            f"x.toml:8: listeners.a.tls.sni[1].names[1]: {HOST_NAME}",
            f"x.toml:9: listeners.a.tls.sni[2].names[0]: {HOST_NAME}",
            "x.toml:9: listeners.a.tls.sni[2].kye: unknown key; did you mean 'key'?",
        ],
    ),
    "TLS on an endpoint that has it already": (
        '[listeners.a]\nlisten = ["tcp:1",\n"ssl:2:/PEM"]\ntls.certificate = "/PEM"\n',
        [
            (
                "x.toml:3: listeners.a.listen[1]: ssl: brings TLS of its own, and there is a 'tls'"
                " table too; write 'tcp:', or leave the table out"
            )
        ],
    ),
    "TLS on a plugin's endpoint": (
        '[listeners.a]\nlisten = "onion:80"\ntls.certificate = "/PEM"\n',
        [
            (
                "x.toml:2: listeners.a.listen: tcpd can't add TLS to an endpoint of the kind"
                " 'onion';"
                " leave the 'tls' table out"
            )
        ],
    ),
    "a connector that doesn't connect": (
        "[connectors.a]\n",
        [
            (
                "x.toml:1: connectors.a: 'connect' is missing; expected an endpoint such as"
                " 'tcp:host:7000'"
            )
        ],
    ),
    "a connector to a list": (
        '[connectors.a]\nconnect = ["tcp:h:1"]\n',
        ["x.toml:2: connectors.a.connect: expected an endpoint such as 'tcp:host:7000'"],
    ),
    "a connector that listens": (
        '[connectors.a]\nlisten = "tcp:1"\nconnect = "tcp:h:1"\n',
        [
            (
                "x.toml:2: connectors.a.listen: unknown key; known here: capture, connect,"
                " deadlines, handler, options, proxy, reconnect, tls"
            )
        ],
    ),
    "a connector's PROXY header of no version": (
        '[connectors.a]\nconnect = "tcp:a:1"\nproxy = "v3"\n',
        ["x.toml:3: connectors.a.proxy: expected 'v1' or 'v2', not 'v3'"],
    ),
    "a connector's PROXY header through another package's endpoint": (
        '[connectors.a]\nconnect = "onion:a:1"\nproxy = "v2"\n',
        [
            (
                "x.toml:3: connectors.a.proxy: tcpd can't send it through the endpoint 'onion';"
                " 'tcp', 'tls', 'ssl' and 'unix' can"
            )
        ],
    ),
    "a connector's port 0": (
        '[connectors.a]\nconnect = "tcp:h:0"\n',
        [
            (
                "x.toml:2: connectors.a.connect: 'tcp:h:0' isn't a valid endpoint: port:"
                " expected a port"
                " from"
                " 1 to 65535, not '0'"
            )
        ],
    ),
    "pauses that can't be": (
        (
            '[connectors.a]\nconnect = "tcp:h:1"\n[connectors.a.reconnect]\ninitial = "soon"\n'
            "max = true\nfactor = 0.5\njitter = 2\ntries = 0\n"
        ),
        [
            (
                "x.toml:4: connectors.a.reconnect.initial: 'soon' isn't a duration; write one as"
                " '30s',"
                " '5m', '1h30m' or '250ms'"
            ),
            (
                "x.toml:5: connectors.a.reconnect.max: expected a duration such as '30s' or"
                " '5m', not"
                " true"
            ),
            "x.toml:6: connectors.a.reconnect.factor: expected 1 to 100, not 0.5",
            "x.toml:7: connectors.a.reconnect.jitter: expected 0 to 1, not 2",
            "x.toml:8: connectors.a.reconnect.tries: expected 1 or more, not 0",
        ],
    ),
    "numbers that are none": (
        '[connectors.a]\nconnect = "tcp:h:1"\nreconnect = { initial = inf, factor = nan }\n',
        [
            (
                "x.toml:3: connectors.a.reconnect.initial: expected a duration such as '30s' or"
                " '5m',"
                " not the number inf"
            ),
            "x.toml:3: connectors.a.reconnect.factor: expected a number, not the number nan",
        ],
    ),
    "a first pause of nothing": (
        '[connectors.a]\nconnect = "tcp:h:1"\nreconnect.initial = 0\n',
        ["x.toml:3: connectors.a.reconnect.initial: a pause has to be longer than 0"],
    ),
    "a longest pause below the first": (
        '[connectors.a]\nconnect = "tcp:h:1"\nreconnect = { initial = "2s",  max = "1s" }\n',
        ["x.toml:3: connectors.a.reconnect.max: it is shorter than 'initial'"],
    ),
    "a longest pause below the first beside another mistake": (
        '[connectors.a]\nconnect = "tcp:h:1"\nreconnect = { initial="10m", max="1m", tries=0 }\n',
        [
            "x.toml:3: connectors.a.reconnect.tries: expected 1 or more, not 0",
            "x.toml:3: connectors.a.reconnect.max: it is shorter than 'initial'",
        ],
    ),
    "a longest pause below the default first": (
        '[connectors.a]\nconnect = "tcp:h:1"\nreconnect.max = 0.5\n',
        ["x.toml:3: connectors.a.reconnect.max: it is shorter than 'initial'"],
    ),
    "a client's key without a certificate": (
        '[connectors.a]\nconnect = "tcp:h:1"\n[connectors.a.tls]\nkey = "/PEM"\n',
        [
            (
                "x.toml:4: connectors.a.tls.key: it is of no use without a certificate; add"
                " 'certificate'"
            )
        ],
    ),
    "authorities that nobody asks": (
        (
            '[connectors.a]\nconnect = "tcp:h:1"\n[connectors.a.tls]\nverify = false\n'
            'cafile = "/PEM"\n'
        ),
        [
            (
                "x.toml:5: connectors.a.tls.cafile: it is of no use with 'verify = false'; leave"
                " out"
                " one of the two"
            )
        ],
    ),
    "TLS to a UNIX socket without a name to prove": (
        '[connectors.a]\nconnect = "unix:/x"\n\n[connectors.a.tls]\n',
        [
            (
                "x.toml:4: connectors.a.tls: a UNIX socket has no host name that the server could"
                " prove; add 'server_name', or 'verify = false'"
            )
        ],
    ),
    "TLS on a connector that has it already": (
        '[connectors.a]\nconnect = "tls:h:1"\ntls = { cafile = "/no/x" }\n',
        [
            (
                "x.toml:2: connectors.a.connect: tls: brings TLS of its own, and there is a 'tls'"
                " table too; write 'tcp:', or leave the table out"
            ),
            "x.toml:3: connectors.a.tls.cafile: /no/x can't be read: No such file or directory",
        ],
    ),
    "everything wrong with the log": (
        (
            '[listeners.a]\nlisten = "tcp:1"\n[log]\nlevel = "warning"\nformat = "xml"\n'
            'file = 1\naccess = "no"\nacces = true\n'
        ),
        [
            (
                "x.toml:4: log.level: expected 'debug' or 'info' or 'warn' or 'error' or"
                " 'critical',"
                " not 'warning'; did you mean 'warn'?"
            ),
            "x.toml:5: log.format: expected 'text' or 'json', not 'xml'",
            "x.toml:6: log.file: expected a path, not the number 1",
            "x.toml:7: log.access: expected true or false, not 'no'",
            "x.toml:8: log.acces: unknown key; did you mean 'access'?",
        ],
    ),
    "log is no table": (
        'log = "info"\n[listeners.a]\nlisten = "tcp:1"\n',
        ["x.toml:1: log: expected a table, not 'info'"],
    ),
    "mistakes are told in the order of their lines, whatever they are": (
        """\
[log]
level = 1
[connectors.c]
connect = "tcp"
[listeners.b]
handler = "none"
[listeners.a]
listne = "tcp:1"
""",
        [
            (
                "x.toml:2: log.level: expected 'debug' or 'info' or 'warn' or 'error' or"
                " 'critical',"
                " not the number 1"
            ),
            "x.toml:4: connectors.c.connect: 'tcp' isn't a valid endpoint: host is missing",
            (
                "x.toml:5: listeners.b: 'listen' is missing; expected an endpoint such as"
                " 'tcp:9999'"
                " or a list"
            ),
            f"x.toml:6: listeners.b.handler: no handler 'none'; {THERE_IS}",
            (
                "x.toml:7: listeners.a: 'listen' is missing; expected an endpoint such as"
                " 'tcp:9999'"
                " or a list"
            ),
            "x.toml:8: listeners.a.listne: unknown key; did you mean 'listen'?",
        ],
    ),
    "no TOML": (
        '[listeners.a]\nlisten = tcp:1\n[log]\nlevel = "x"\n',
        [
            (
                "x.toml:2: invalid value (column 10); a text stands in quotes; true and false are"
                " in lower case"
            )
        ],
    ),
}


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    config_handlers.use(monkeypatch)


def load_text(text: str) -> None:
    file = TomlFile.parse(text, "x.toml")
    build_config(file.table, file, build_handler)


@pytest.mark.parametrize(("text", "lines"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_configuration_is_refused_line_by_line(
    text: str, lines: list[str], tmp_path: Path
) -> None:
    pem.write(tmp_path / "pem")
    text = text.replace("/PEM", str(tmp_path / "pem"))
    with pytest.raises(ConfigErrors) as caught:
        load_text(text)
    # An error of the handler's own says where it was raised; which line that is, is no matter.
    said = re.sub(r" \(\S+/config_handlers\.py:\d+\)", "", str(caught.value))
    assert said.splitlines() == lines


def test_there_are_dozens() -> None:
    assert len(BROKEN) >= 48


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"none\.toml: there is no such file$"):
        load(tmp_path / "none.toml", build_handler)
