import pytest

from tcpd.errors import (
    ConfigError,
    ConfigErrors,
    FieldError,
    StartError,
    TcpdError,
    did_you_mean,
)


def test_a_config_error_says_where_what_and_what_would_be_right() -> None:
    error = ConfigError("x.toml:1: a.b", "unknown key", "did you mean 'c'?")
    assert str(error) == "x.toml:1: a.b: unknown key; did you mean 'c'?"
    assert str(ConfigError("--port", "no port")) == "--port: no port"
    assert isinstance(error, TcpdError)


def test_config_errors_are_told_one_a_line() -> None:
    errors = ConfigErrors([ConfigError("a", "x"), ConfigError("b", "y", "z")])
    assert str(errors) == "a: x\nb: y; z"
    assert [error.where for error in errors.errors] == ["a", "b"]


def test_a_field_error_is_a_value_error_with_a_path() -> None:
    error = FieldError(("rules", 3, "state"), "unknown state", "known here: start")
    assert isinstance(error, ValueError)
    assert (error.path, str(error), error.hint) == (
        ("rules", 3, "state"),
        "unknown state",
        "known here: start",
    )


def test_what_fails_at_start_ends_the_process_with_status_1_and_one_line() -> None:
    error = StartError("port in use")
    assert isinstance(error, SystemExit)
    assert isinstance(error, TcpdError)
    assert error.code == "tcpd: port in use"  # Python prints a text and exits with 1


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("sesions", "did you mean 'sessions'?"),
        ("lisetn", "did you mean 'listen'?"),
        ("xyzzy", ""),
        ("", ""),
        ("sessions" * 1000, ""),
    ],
)
def test_the_nearest_word_is_named_if_there_is_one(word: str, hint: str) -> None:
    assert did_you_mean(word, ["listen", "sessions"]) == hint
    assert did_you_mean(word, iter([])) == ""


def test_no_guess_is_made_at_a_word_that_can_be_no_name() -> None:
    assert did_you_mean("a" * 100, ["a" * 99])
    assert did_you_mean("a" * 101, ["a" * 99]) == ""
