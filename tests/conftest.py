"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Have the processes that tests start heed SIGINT and SIGQUIT.

    A shell has what it starts in the background ignore them, and every process below inherits
    that; only a signal with a handler of its own comes back as the default in a new process.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
