"""Row 13: PROXY from an untrusted address, in every spelling of a mapped address.

Must hold: none believed; `::ffff:10.0.0.0/8` refused at load.

Best known: none measured.

Peers at three addresses send a valid header, to an IPv4 listener and to one that has IPv4 addresses
in their IPv6 form. One of the three is trusted, in one spelling after another. A network that holds
all mapped addresses would trust everybody, so it is a wrong configuration.
"""

import socket
import subprocess

from faults.harness import BIN, LOOPBACK, PATIENCE, tcpd
from faults.peers import receive_all
from faults.proxy_vectors import CLIENT, tcp4, v1_vectors, v2

SPELLINGS = [
    "127.0.0.2",
    "127.0.0.2/32",
    "::ffff:127.0.0.2",
    "::FFFF:127.0.0.2",
    "::ffff:7f00:2",
    "::ffff:7f00:0002/128",
    "0:0:0:0:0:ffff:127.0.0.2",
    "0000:0000:0000:0000:0000:ffff:7f00:0002",
]
TOO_WIDE = [
    "::ffff:10.0.0.0/8",
    "::FFFF:10.0.0.0/8",
    "::ffff:a00:0/8",
    "::ffff:0a00:0000/16",
    "0:0:0:0:0:ffff:10.0.0.0/8",
    "::ffff:0:0/95",
    "::ffff:0.0.0.0/0",
    "10.0.0.1/8",
]
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
REPLY = 'handler = "reply"\noptions = { framing = "raw", default = "{{peer.host}}" }'
MAPPED = "listen = 'tcp6:0:interface=\\:\\:ffff\\:127.0.0.1'"
HEADERS = [v1_vectors()["TCP4"][0], v2(tcp4())]


def config(networks):
    """Return a configuration with two listeners for each network that is trusted."""
    text = ""
    for number, network in enumerate(networks):
        rest = f'{REPLY}\nproxy = {{ trusted = ["{network}"] }}\n'
        text += f"[listeners.v4-{number}]\n{LOOPBACK}\n{rest}"
        text += f"[listeners.mapped-{number}]\n{MAPPED}\n{rest}"
    return text


def believed(daemon, listener, source, header):
    """Return whether a header from an address was believed."""
    try:
        with daemon.connect(listener, source=source) as sock:
            sock.sendall(header + b"x")
            sock.shutdown(socket.SHUT_WR)
            return receive_all(sock).decode() == CLIENT[0]
    except OSError:
        return False


def test_nobody_is_believed_but_who_is_trusted(tmp_path, figure):
    wrong = tried = 0
    with tcpd(tmp_path, config(SPELLINGS)) as daemon:
        for number, spelling in enumerate(SPELLINGS):
            for listener in (f"v4-{number}", f"mapped-{number}"):
                for source in ADDRESSES:
                    for header in HEADERS:
                        seen = believed(daemon, listener, source, header)
                        if source == "127.0.0.2":
                            assert seen, (spelling, listener)
                        else:
                            tried += 1
                            wrong += seen
    refused = refused_at_load(tmp_path)
    figure(
        f"{wrong} of {tried} believed; {len(refused)} of {len(TOO_WIDE)} networks refused at load"
    )
    assert wrong == 0
    assert refused == TOO_WIDE


def refused_at_load(directory):
    """Return the networks that are refused, each with its name and what would be right."""
    (directory / "wide.toml").write_text(config(TOO_WIDE))
    done = subprocess.run(
        [BIN / "twistd", "-n", "tcpd", "--config=wide.toml", "--check-config"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    print(done.stderr)
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    return [
        network
        for network in TOO_WIDE
        if sum(f"'{network}'" in line and "write '" in line for line in lines) == 2
    ]
