"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Have the processes that tests start heed SIGINT.

    A shell has what it starts in the background ignore SIGINT, and every process below inherits
    that; only a signal with a handler of its own comes back as the default in a new process.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
