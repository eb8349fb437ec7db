"""What can be wrong with a frame."""

from __future__ import annotations

from tcpd.errors import TcpdError


class FramingError(TcpdError):
    """Bytes that are no frame, or a payload that can't be made one."""


class FrameTooLong(FramingError):  # noqa: N818  (reads as what happened)
    """A frame is longer than is allowed, or than its framing can express.

    Args:
        limit: how many bytes a frame may have.
        size: how many this one has, as far as that is known.
    """

    def __init__(self, limit: int, size: int | None = None) -> None:
        known = "a frame is longer" if size is None else f"a frame of {size} bytes is longer"
        super().__init__(f"{known} than the {limit} bytes that are allowed")
        self.limit = limit
        self.size = size


class BadLength(FramingError):  # noqa: N818
    """A length that can't be: it counts itself, and yet is less than its own size.

    Args:
        length: what the length field said.
        least: the least it could have said.
    """

    def __init__(self, length: int, least: int) -> None:
        super().__init__(f"a frame's length of {length} is less than its own field of {least}")
        self.length = length


class WrongSize(FramingError):  # noqa: N818
    """A payload that doesn't fill a frame of fixed size.

    Args:
        size: the payload's bytes.
        fixed: the frame's.
    """

    def __init__(self, size: int, fixed: int) -> None:
        super().__init__(f"{size} bytes, where a frame has exactly {fixed}")
