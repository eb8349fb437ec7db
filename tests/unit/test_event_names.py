"""The names of events: all of ours are known, patterns choose among them, none can be forged."""

import re

import pytest

from tcpd.event_names import FAMILIES, NAMES, EventPattern, handler_event_name
from tcpd.events import HandlerEvent, event_classes


def test_every_class_of_events_has_a_name_of_its_own_and_it_is_listed() -> None:
    assert HandlerEvent not in event_classes()
    names = [each.event_name for each in event_classes()]
    assert len(set(names)) == len(names)
    # The last isn't an event of the bus: it is a record that a sink's runner makes.
    assert {*names, "sink.lost"} == set(NAMES)


@pytest.mark.parametrize(
    "pattern", ["*", "session.*", "s*", "session.closed", "my.own", "log[io]n"]
)
def test_patterns(pattern: str) -> None:
    assert EventPattern.parse(pattern) == pattern


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("session.close", "no event is called 'session.close'; did you mean 'session.closed'?"),
        (
            "session.xyzzyx",
            (
                "no event is called 'session.xyzzyx'; known are session.opened, session.closed,"
                " session.refused"
            ),
        ),
        ("listener", "no event is called 'listener'; did you mean 'listener.changed'?"),
        (
            "",
            (
                "expected the name of an event, such as 'session.closed' or 'session.*', not an"
                " empty text"
            ),
        ),
        (7, "not the number 7"),
    ],
)
def test_what_can_match_nothing_of_ours_is_refused(pattern: object, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told) + "$"):
        EventPattern.parse(pattern)


@pytest.mark.parametrize("name", ["lost", "end", "disconnected", "reconnected"])
def test_an_event_of_a_handler_never_has_the_name_of_a_streams_own_mark(name: str) -> None:
    assert handler_event_name(name) == f"handler.{name}"
    assert handler_event_name(f"{name}.and.found") == f"{name}.and.found"
    told = f"no event is called '{name}'; one that a handler calls so is 'handler.{name}'"
    with pytest.raises(ValueError, match=f"^{told}$"):
        EventPattern.parse(name)
    assert EventPattern.parse(f"handler.{name}").matches(handler_event_name(name))


def test_matching_is_of_the_whole_name_and_its_case() -> None:
    assert EventPattern("session.*").matches("session.closed")
    assert not EventPattern("session").matches("session.closed")
    assert not EventPattern("Session.*").matches("session.closed")


@pytest.mark.parametrize(
    ("pattern", "only_ours"),
    [
        ("session.*", True),
        ("handler.failed", True),
        ("handler.*", False),
        ("session*", False),
        ("*", False),
        ("login", False),
    ],
)
def test_some_patterns_can_match_nothing_of_a_handlers(pattern: str, only_ours: bool) -> None:
    assert EventPattern(pattern).is_only_ours == only_ours


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_handlers_event_never_bears_a_name_of_ours(family: str) -> None:
    assert handler_event_name(f"{family}.closed") == f"handler.{family}.closed"
    assert handler_event_name(family) == f"handler.{family}"
    assert handler_event_name(f"{family}s.closed") == f"{family}s.closed"


def test_a_handlers_other_names_stay() -> None:
    assert handler_event_name("login.failed") == "login.failed"
    assert handler_event_name("") == ""
