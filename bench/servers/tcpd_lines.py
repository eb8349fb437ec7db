"""What tcpd serves in the comparison of lines: a handler on `tcpd.framing`, loaded by its path.

For everything else tcpd runs its own echo handler.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.protocol import Factory

from tcpd.framing import FrameProtocol


class LinesProtocol(FrameProtocol):
    """Sends every line back."""

    def frame_received(self, frame: bytes) -> None:
        """Send a line back."""
        self.send_frame(frame)


@dataclass
class Lines(Factory[LinesProtocol]):
    """Send every line back, with a write for each."""

    noisy = False
    protocol = LinesProtocol
