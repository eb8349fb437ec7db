import pytest
from tcpd_keyvalue.commands import Store


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"GET a", b"VALUE 1"),
        (b"get a\r", b"VALUE 1"),
        (b"GET b", b"NONE"),
        (b"SET b two words", b"OK"),
        (b"SET c", b"ERROR expected SET key value"),
        (b"SET", b"ERROR expected SET key value"),
        (b"DEL a", b"OK"),
        (b"DEL b", b"NONE"),
        (b"DEL", b"ERROR which key?"),
        (b"COUNT", b"COUNT 1"),
        (b"", b"ERROR expected SET key value, GET key, DEL key or COUNT"),
        (b"\xff\x00", b"ERROR expected SET key value, GET key, DEL key or COUNT"),
    ],
)
def test_a_command_is_answered(line, answer):
    assert Store(10, {b"a": b"1"}).answer(line) == answer


def test_a_full_store_takes_no_new_key_but_new_values():
    store = Store(1, {b"a": b"1"})
    assert store.answer(b"SET b 2") == b"ERROR full"
    assert store.answer(b"SET a 3") == b"OK"
    assert store.values == {b"a": b"3"}
