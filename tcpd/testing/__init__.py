"""For who writes a handler: connect to it in memory, and check that it keeps the contract.

`connect(handler)` gives the other end of a connection, without sockets, reactor or waiting; time is
a `twisted.internet.task.Clock` that the test moves. `check_handler(handler, *steps)` plays one
conversation in every way in which a network may cut it up. Both work under any test runner: what
is wrong is an `AssertionError`, and what a handler raises comes out as it is.

For who writes a sink, `check_sink(sink, count)` does the same, and `make_record` makes records.

Rules:
- A handler is built as the daemon builds it: its options are checked, `buildSession` is preferred.
- The transport behaves as tcpd's own: what was written before a close is delivered, a peer that
  shuts down its side is answered, and nothing is delivered after the end.
"""

from tcpd.testing.conversation import (
    Closes,
    Expect,
    Finish,
    Send,
    Step,
    Wait,
    check_handler,
    no_call_left,
)
from tcpd.testing.memory import MemoryTransport, Peer, connect, make_handler
from tcpd.testing.sinks import check_sink, make_record

__all__ = [
    "Closes",
    "Expect",
    "Finish",
    "MemoryTransport",
    "Peer",
    "Send",
    "Step",
    "Wait",
    "check_handler",
    "check_sink",
    "connect",
    "make_handler",
    "make_record",
    "no_call_left",
]
