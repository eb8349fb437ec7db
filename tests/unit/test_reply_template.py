"""Templates: what goes into their holes, and what may not stand there."""

import pytest

from tcpd.handlers.reply_rules.template import (
    SESSION_FIELDS,
    Context,
    Facts,
    fields_with,
    hex_template,
    text_template,
)

FACTS = Facts(
    session_id="ab-7",
    listener="front",
    peer_host="192.0.2.7",
    peer_port=54321,
    local_host="::1",
    local_port=9999,
)
CONTEXT = Context(
    facts=FACTS,
    clock=lambda: 1700000000.25,
    state="idle",
    received=3,
    matched=300,
    input=b"in{{put}}\xff",
    captures=(b"whole", b"\x00One"),
)
FIELDS = fields_with({"0": 0, "1": 1, "who": 1})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain", b"plain"),
        ("", b""),
        ("é", b"\xc3\xa9"),
        ("{{input}}", b"in{{put}}\xff"),
        ("<{{ input }}>", b"<in{{put}}\xff>"),
        ("{{0}} {{1}} {{who}}", b"whole \x00One \x00One"),
        ("{{session.id}} {{session.count}}", b"ab-7 3"),
        ("{{listener}} {{state}}", b"front idle"),
        ("{{peer.host}}:{{peer.port}}", b"192.0.2.7:54321"),
        ("[{{local.host}}]:{{local.port}}", b"[::1]:9999"),
        ("{{rule.count}}", b"300"),
        ("{{time}}", b"2023-11-14T22:13:20.250Z"),
        ("{{time.epoch}} {{time.epoch_ms}}", b"1700000000 1700000000250"),
        ("{{input|hex}} {{who | upper}} {{who|lower}}", b"696e7b7b7075747d7dff \0ONE \0one"),
        ("{{session.count|u8}}{{rule.count|u8}}", b"\x03\x2c"),
        ("{{rule.count|u16}}{{rule.count|u32}}", b"\x01\x2c\0\0\x01\x2c"),
        ("{{time.epoch_ms|u64}}", (1700000000250).to_bytes(8, "big")),
        # JSON and single braces need no care, not even around a field.
        ('{"a": {"n": {{rule.count}}}}', b'{"a": {"n": 300}}'),
        ("{ } }} {input}", b"{ } }} {input}"),
        ("{{{{", b"{{"),
        ("{{{{input}}", b"{{input}}"),
        ("a{{{{{{state}}b", b"a{{idleb"),
    ],
)
def test_what_a_template_says(text, said):
    template = text_template(text, FIELDS)
    assert template.render(CONTEXT) == said
    assert template.constant in (None, said)
    assert (template.constant is None) == bool(template.names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("02 FF", b"\x02\xff"),
        ("02 {{who}} 03", b"\x02\x00One\x03"),
        ("{{session.count|u16}}ff", b"\0\x03\xff"),
        ("", b""),
    ],
)
def test_what_a_template_of_hex_digits_says(text, said):
    assert hex_template(text, FIELDS).render(CONTEXT) == said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{inptu}}", "unknown field {{inptu}}; did you mean 'input'?"),
        ("{{x}}", "unknown field {{x}}; known here: 0, 1, input, listener, "),
        ("{{}}", "unknown field {{}}"),
        ("{{2}}", "nothing is captured as {{2}}; known here: 0, 1, "),
        ("{{input.__class__}}", "unknown field {{input.__class__}}"),
        ("{{input!r}}", "unknown field"),
        ("a {{input", "a '{{' without its '}}'; write '{{{{' for these two characters"),
        ("{{input|uper}}", "unknown filter |uper; did you mean 'upper'?"),
        ("{{input|q}}", "unknown filter |q; known are hex, upper"),
        ("{{input|u8}}", "{{input}} isn't a number, as |u8 needs; local.port, "),
    ],
)
def test_what_may_not_stand_in_a_template(text, problem):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the text follows)
        text_template(text, FIELDS)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0", "1 hex digits"),
        ("0{{input}}0", "1 hex digits"),
        ("0x02", "'x' isn't a hex digit"),
        ("{input}", "'{' isn't a hex digit"),
    ],
)
def test_what_may_not_stand_in_hex_digits(text, problem):
    with pytest.raises(ValueError, match=problem):
        hex_template(text, FIELDS)


def test_where_there_is_no_input_there_is_no_field_for_it():
    with pytest.raises(ValueError, match=r"unknown field \{\{input\}\}"):
        text_template("{{input}}", SESSION_FIELDS)


def test_a_capture_cant_hide_a_field():
    with pytest.raises(ValueError, match="'time' hides the field"):
        fields_with({"0": 0, "time": 1})
