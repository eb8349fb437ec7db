"""What each way of ending means: a status, another try, and what is said of it."""

from typing import Any

import pytest

from tcpd.client.ending import judge, waited
from tcpd.client.options import Options, parse_options
from tcpd.client.target import Target


def options(**given: Any) -> Options:
    return Options(target=Target(host="x", port=1), **given)


def test_an_end_in_order_is_status_0() -> None:
    assert judge(options(), cut="", input_ended=True).status == 0
    assert judge(options(), cut="", input_ended=False).status == 0


def test_a_cut_is_status_1_and_says_why_and_what_was_lost() -> None:
    ending = judge(options(), cut="reset", input_ended=True, unsent=3)
    assert (ending.status, ending.said) == (1, "reset; 3 bytes were not sent")


def test_a_cut_after_the_peers_end_means_that_it_did_not_want_the_rest() -> None:
    ending = judge(options(), cut="reset", input_ended=False, peer_ended=True)
    assert (ending.status, ending.said) == (1, "the peer closed before all of the input was sent")


@pytest.mark.parametrize("cut", ["", "reset"])
@pytest.mark.parametrize(
    ("input_ended", "half_close", "again"),
    [(False, True, True), (False, False, True), (True, False, True), (True, True, False)],
)
def test_reconnect_tries_again_while_there_is_something_to_try_for(
    cut: str, input_ended: bool, half_close: bool, again: bool
) -> None:
    ending = judge(options(reconnect=True, half_close=half_close), cut=cut, input_ended=input_ended)
    assert (ending.status is None) == again
    assert judge(options(half_close=half_close), cut=cut, input_ended=input_ended).status in (0, 1)


def test_waiting_is_an_end_in_order_only_where_there_was_no_other() -> None:
    assert waited(options(half_close=False, wait=1.0)).status == 0
    ending = waited(options(wait=1.0))
    assert ending.status == 1
    assert "within 1s" in ending.said


def test_options_have_their_defaults() -> None:
    assert parse_options(["x", "1"]) == options(timeout=10.0)


def test_a_timeout_of_zero_is_none() -> None:
    assert parse_options(["x:1", "--timeout", "0"]).timeout is None


def test_durations_may_be_bare_seconds() -> None:
    assert parse_options(["x:1", "--wait", "2.5"]).wait == 2.5
    assert parse_options(["x:1", "--wait", "1m"]).wait == 60.0


def test_line_ends_suit_the_way_of_typing() -> None:
    assert parse_options(["x:1"]).prompt_encoding.eol == b"\n"
    assert parse_options(["x:1", "--hex"]).prompt_encoding.eol == b""
    assert parse_options(["x:1"]).pipe_encoding is None
