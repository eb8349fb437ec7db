"""Messages in a stream of bytes: lines, delimiters, lengths, fixed sizes, or none.

`Line()`, `Delimited(b";")`, `LengthPrefixed(2)`, `Fixed(16)` and `Raw()` are framings: each gives a
sans-I/O decoder and encodes a payload. `FrameProtocol` is the base of a Twisted protocol that
speaks one; `FramingOption` the type of a handler's option that chooses one.
"""

from tcpd.framing.decoders import FRAMES_A_TURN, MAX_SIZE, Decoder
from tcpd.framing.errors import BadLength, FrameTooLong, FramingError, WrongSize
from tcpd.framing.kinds import Delimited, Fixed, Framing, LengthPrefixed, Line, Raw
from tcpd.framing.options import FramingOption, FramingTable, HexBytes, MaxSize, framing_of
from tcpd.framing.protocol import FrameProtocol

__all__ = [
    "FRAMES_A_TURN",
    "MAX_SIZE",
    "BadLength",
    "Decoder",
    "Delimited",
    "Fixed",
    "FrameProtocol",
    "FrameTooLong",
    "Framing",
    "FramingError",
    "FramingOption",
    "FramingTable",
    "HexBytes",
    "LengthPrefixed",
    "Line",
    "MaxSize",
    "Raw",
    "WrongSize",
    "framing_of",
]
