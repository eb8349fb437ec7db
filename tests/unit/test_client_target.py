"""What a user may type for an address, and what is said about the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpd.client.target import Target, UsageError, parse_target


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["localhost", "9999"], Target(host="localhost", port=9999)),
        (["localhost:9999"], Target(host="localhost", port=9999)),
        (["::1", "80"], Target(host="::1", port=80)),
        (["[::1]", "80"], Target(host="::1", port=80)),
        (["[::1]:9999"], Target(host="::1", port=9999)),
        (["fe80::1%lo", "1"], Target(host="fe80::1%lo", port=1)),
        (["tcp:127.0.0.1:80"], Target(host="127.0.0.1", port=80)),
        (["tcp:host=a.example:port=80"], Target(host="a.example", port=80)),
        (["tcp:port=80:host=a"], Target(host="a", port=80)),
        ([r"tcp:\:\:1:80"], Target(host="::1", port=80)),
        (["tcp:a:80:timeout=2.5"], Target(host="a", port=80, timeout=2.5)),
        (["tcp:a:80:bindAddress=127.0.0.2"], Target(host="a", port=80, bind_address="127.0.0.2")),
        (["tls:a:443"], Target(host="a", port=443, tls=True)),
        (["ssl:host=a:port=443"], Target(host="a", port=443, tls=True)),
        (["unix:/run/x.sock"], Target(path="/run/x.sock")),
        (["unix:/run/a=b.sock"], Target(path="/run/a=b.sock")),
        (["unix:path=/run/x=y.sock"], Target(path="/run/x=y.sock")),
        (["unix:/run/x.sock:timeout=3"], Target(path="/run/x.sock", timeout=3.0)),
        ([r"unix:/run/a\:b"], Target(path="/run/a:b")),
    ],
)
def test_each_form_of_an_address_is_understood(words: list[str], target: Target) -> None:
    assert parse_target(words) == target


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "where to?"),
        (["localhost"], "has no port; write localhost PORT"),
        (["localhost", "http"], "'http' isn't a valid port; a port is a number from 1 to 65535"),
        (["localhost", "0"], "'0' isn't a valid port"),
        (["localhost", "65536"], "'65536' isn't a valid port"),
        (["localhost", "-1"], "'-1' isn't a valid port"),
        (["localhost", "٣"], "isn't a valid port"),
        (["localhost", "9" * 6000], "isn't a valid port"),
        (["localhost:"], "'' isn't a valid port"),
        ([":80"], "the host is empty"),
        (["", "80"], "the host is empty"),
        (["::1:9999"], "is written [::1]:9999"),
        (["::1"], "is written [::1]:9999"),
        (["[::1]"], "is written [::1]:9999"),
        (["[::1"], "is written [::1]:9999"),
        (["[nonsense]:1"], "isn't an IPv6 address"),
        (["a::b::c", "1"], "isn't an IPv6 address"),
        (["http://host/x", "80"], "an IPv6 address"),
        (["http://host:80"], "no endpoint is called 'http'"),
        (["host name", "80"], "isn't a host name"),
        (["tcp:9999"], "needs a host and a port: tcp:127.0.0.1:9999"),
        (["tcp:"], "needs a host and a port"),
        (["tcp:host=a"], "needs a host and a port"),
        (["tcp:a:1:hots=b"], "takes no 'hots'; did you mean 'host'?"),
        (["tcp:a:1:1:1:1"], "too many parts"),
        (["tcp:a:1:host=b"], "gives 'host' twice"),
        (["tcp:a:1:timeout=soon"], "the timeout is a number of seconds"),
        (["tcp:a:1:timeout=-1"], "the timeout is a number of seconds"),
        (["tcp:a:1", "80"], "is a whole address already; leave '80' out"),
        (["tpc:a:1"], "no endpoint is called 'tpc'; did you mean 'tcp'?"),
        (["unix:"], "needs a path"),
        (["unix:" + "x" * 200], "at most 107"),
    ],
)
def test_a_wrong_address_is_answered_by_one_line_that_says_what_is_right(
    words: list[str], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(words)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.lists(st.text(), max_size=3))
def test_any_text_is_a_target_or_a_usage_error(words: list[str]) -> None:
    try:
        target = parse_target(words)
    except UsageError:
        return
    assert bool(target.path) != (0 < target.port < 65536 and bool(target.host))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(1, 65535))
def test_a_target_reads_back_as_it_is_written(address: object, port: int) -> None:
    target = Target(host=str(address), port=port)
    assert parse_target([str(target)]) == target
