"""Who may do what on the admin side, by each way in, with and without a token."""

import os
import socket
from types import SimpleNamespace

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tcpd.admin.auth import Denied, Peer, Right, Rules, check_site, peer_of, require, rights_of

TOKEN = "0123456789abcdef"
BEARER = f"Bearer {TOKEN}"
ME = os.geteuid()

OWNER = Peer(way="unix", name="user", user=ME)
ROOT = Peer(way="unix", name="user 0", user=0)
OTHER = Peer(way="unix", name="user 12345", user=12345)
UNKNOWN = Peer(way="unix", name="a UNIX socket")
LOCAL = Peer(way="local", name="127.0.0.1", host="127.0.0.1")
AFAR = Peer(way="network", name="192.0.2.9", host="192.0.2.1")

NO_TOKEN = Rules()
GUARDED = Rules(token=TOKEN)
OPEN = Rules(token=TOKEN, open_to_others=True)


@pytest.mark.parametrize(
    ("peer", "rules", "authorization", "right"),
    [
        (OWNER, NO_TOKEN, None, Right.CHANGE),
        (ROOT, NO_TOKEN, None, Right.CHANGE),
        (OTHER, NO_TOKEN, None, Right.READ),
        (UNKNOWN, NO_TOKEN, None, Right.READ),
        (OWNER, OPEN, None, Right.CHANGE),
        (OTHER, OPEN, None, Right.READ),
        (OTHER, GUARDED, BEARER, Right.CHANGE),
        (LOCAL, NO_TOKEN, None, Right.READ),
        (LOCAL, GUARDED, None, Right.READ),
        (LOCAL, GUARDED, BEARER, Right.CHANGE),
        (LOCAL, GUARDED, f"bearer  {TOKEN} ", Right.CHANGE),
        (LOCAL, OPEN, None, Right.NOTHING),
        (LOCAL, OPEN, BEARER, Right.CHANGE),
        (AFAR, NO_TOKEN, None, Right.NOTHING),
        (AFAR, OPEN, None, Right.NOTHING),
        (AFAR, OPEN, BEARER, Right.CHANGE),
    ],
)
def test_the_rights(peer, rules, authorization, right):
    assert rights_of(peer, rules, authorization) is right


@pytest.mark.parametrize("peer", [OWNER, ROOT, OTHER, LOCAL, AFAR])
@pytest.mark.parametrize(
    "wrong",
    [
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer ü",
        "",
        f"Bearer {TOKEN.upper()}",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN} {TOKEN}",
    ],
)
def test_a_wrong_token_is_refused_to_everybody(peer, wrong):
    with pytest.raises(Denied) as caught:
        rights_of(peer, GUARDED, wrong)
    assert caught.value.status == 401
    assert b"WWW-Authenticate" in caught.value.headers
    assert TOKEN not in caught.value.problem + caught.value.hint


@pytest.mark.parametrize("peer", [OWNER, LOCAL, AFAR])
def test_no_token_is_right_where_there_is_none(peer):
    for shown in ("Bearer ", "Bearer None", BEARER):
        with pytest.raises(Denied) as caught:
            rights_of(peer, NO_TOKEN, shown)
        assert caught.value.status == 403


@pytest.mark.parametrize(
    ("peer", "rules", "wanted", "status", "hint"),
    [
        (OTHER, NO_TOKEN, Right.CHANGE, 403, "use sudo"),
        (OTHER, GUARDED, Right.CHANGE, 403, "or show the token"),
        (LOCAL, NO_TOKEN, Right.CHANGE, 403, "set 'token_file'"),
        (LOCAL, GUARDED, Right.CHANGE, 401, "Authorization: Bearer"),
        (LOCAL, OPEN, Right.READ, 401, "Authorization: Bearer"),
        (AFAR, OPEN, Right.READ, 401, "Authorization: Bearer"),
        (AFAR, NO_TOKEN, Right.READ, 403, "set 'token_file'"),
    ],
)
def test_who_may_not_hears_what_would_help(peer, rules, wanted, status, hint):
    with pytest.raises(Denied) as caught:
        require(wanted, peer, rules, None)
    assert caught.value.status == status
    assert hint in caught.value.hint


def test_more_than_enough_is_enough():
    require(Right.READ, OWNER, NO_TOKEN, None)
    require(Right.NOTHING, AFAR, OPEN, None)


# -- by which name ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        (LOCAL, "localhost"),
        (LOCAL, "LOCALHOST:9990"),
        (LOCAL, "localhost."),
        (LOCAL, "127.0.0.1:9990"),
        (LOCAL, "127.0.0.9"),
        (LOCAL, "[::1]:9990"),
        (LOCAL, "localhost:8080"),  # through a tunnel
        (OWNER, "localhost"),
        (AFAR, "192.0.2.1:9990"),
        (Peer(way="network", name="x", host="2001:db8::1"), "[2001:db8::1]:9990"),
        (AFAR, "status.example:9990"),
    ],
)
def test_names_of_ours(peer, host):
    check_site(peer, Rules(token=TOKEN, hosts=("status.example",)), host=host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        " ",
        "evil.example",
        "evil.example:9990",
        "localhost.evil.example",
        "192.0.2.2",
        "127.0.0.1.evil.example",
        "localhost:9990, evil",
        "user@localhost",
        "[::1",
        "localhost:x",
        "localhost/",
        "10.0.0.1",
        "0x7f000001",
        "xn--localhost",
        "[localhost]",
    ],
)
def test_other_names_are_refused(host):
    with pytest.raises(Denied) as caught:
        check_site(LOCAL, GUARDED, host=host)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("host", "origin", "secure"),
    [
        ("localhost:9990", "http://localhost:9990", False),
        ("localhost:9990", "HTTP://LOCALHOST:9990", False),
        ("localhost", "http://localhost", False),
        ("localhost:80", "http://localhost", False),
        ("[::1]:9990", "http://[::1]:9990", False),
        ("localhost:9990", "https://localhost:9990", True),
        ("localhost", "https://localhost:443", True),
    ],
)
def test_our_own_page_may_ask(host, origin, secure):
    peer = Peer(way="local", name="x", host="127.0.0.1", secure=secure)
    check_site(peer, GUARDED, host=host, origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost:9991",
        "https://localhost:9990",
        "http://localhost",
        "http://127.0.0.1:9990",
        "http://localhost:9990.evil.example",
        "http://localhost:9990/",
        "file://",
        "chrome-extension://abc",
    ],
)
def test_pages_of_other_sites_may_not(origin):
    with pytest.raises(Denied) as caught:
        check_site(LOCAL, GUARDED, host="localhost:9990", origin=origin)
    assert caught.value.status == 403
    assert "Origin" in caught.value.problem


@pytest.mark.parametrize(
    ("fetched_from", "mode", "fine"),
    [
        ("same-origin", "cors", True),
        ("none", "navigate", True),
        ("cross-site", "navigate", True),
        ("cross-site", "no-cors", False),
        ("cross-site", None, False),
        ("same-site", "cors", False),
        (None, None, True),
    ],
)
def test_what_browsers_say_of_where_they_fetch_from(fetched_from, mode, fine):
    def check():
        check_site(LOCAL, GUARDED, host="localhost", fetched_from=fetched_from, fetch_mode=mode)

    if fine:
        check()
    else:
        with pytest.raises(Denied):
            check()


# -- who it is ----------------------------------------------------------------------------------


def transport(peer, host, handle=None, tls=None):
    return SimpleNamespace(
        getPeer=lambda: peer, getHost=lambda: host, getHandle=lambda: handle, tls=tls
    )


def ip(host, port=1):
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


@pytest.mark.parametrize(
    ("came_from", "came_to", "way"),
    [
        ("127.0.0.1", "127.0.0.1", "local"),
        ("127.3.2.1", "127.0.0.1", "local"),
        ("::1", "::1", "local"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", "local"),
        ("192.0.2.1", "192.0.2.1", "network"),
        ("192.0.2.9", "192.0.2.1", "network"),
        ("192.0.2.9", "127.0.0.1", "network"),
        ("127.0.0.1", "192.0.2.1", "network"),
    ],
)
def test_where_a_connection_comes_from(came_from, came_to, way):
    peer = peer_of(transport(ip(came_from), ip(came_to)))
    assert peer.way == way
    assert peer.name == came_from.removeprefix("::ffff:")
    assert not peer.secure


def test_tls_is_secure():
    assert peer_of(transport(ip("127.0.0.1"), ip("127.0.0.1"), tls=object())).secure


def test_the_kernel_says_who_is_at_a_unix_socket():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = peer_of(transport(UNIXAddress(None), UNIXAddress(b"/run/a"), ours))
    assert (peer.way, peer.user) == ("unix", ME)


def test_who_cant_be_known_is_nobody():
    peer = peer_of(transport(UNIXAddress(None), UNIXAddress(b"/run/a")))
    assert (peer.way, peer.user) == ("unix", None)
