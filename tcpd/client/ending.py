"""What the end of a connection means: an exit status, or another try.

Pure. The rules are the same at the prompt and in a pipe:

- It ended in order: 0.
- It was cut (reset, lost, TLS broken off): 1, and why.
- With `--reconnect` there's another try as long as there is something to try for: input that hasn't
  ended, or, with `--no-half-close`, a peer that may have more to say.
- `--wait` over: 0 with `--no-half-close`, where no other end was possible; else 1, for the peer was
  told that we're done and did not finish.
"""

from __future__ import annotations

from dataclasses import dataclass

from tcpd.client.options import Options
from tcpd.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a connection ended.

    Attributes:
        status: the exit status, or None for another try.
        said: what to tell the user; may be empty.
    """

    status: int | None
    said: str = ""


NOT_CONNECTED = Ending(status=1, said="there was no connection when --wait was over")


def judge(
    options: Options, *, cut: str, input_ended: bool, peer_ended: bool = False, unsent: int = 0
) -> Ending:
    """Return what it means that a connection ended without our doing.

    Args:
        options: what the command line asked for.
        cut: why it was cut, empty if it ended in order.
        input_ended: whether all of the input had been read.
        peer_ended: whether the peer had ended its side in order before.
        unsent: how many bytes never left.
    """
    again = options.reconnect and not (input_ended and options.half_close)
    if not cut:
        return Ending(status=None, said="closed by the peer") if again else Ending(status=0)
    if peer_ended:
        cut = "the peer closed before all of the input was sent"
    if unsent:
        cut += f"; {unsent} bytes were not sent"
    return Ending(status=None if again else 1, said=cut)


def waited(options: Options) -> Ending:
    """Return what it means that `--wait` is over."""
    if not options.half_close:
        return Ending(status=0)
    limit = format_duration(options.wait or 0)
    return Ending(
        status=1, said=f"the peer did not close within {limit} of the end of the input (--wait)"
    )
