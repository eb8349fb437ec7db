"""The store and its commands: a line in, a line out; no connection in sight.

    SET key value    OK
    GET key          VALUE value, or NONE
    DEL key          OK, or NONE
    COUNT            COUNT n
    anything else    ERROR why

A key is a word; a value is the rest of the line, as bytes.
"""

from dataclasses import dataclass, field


@dataclass
class Store:
    """Values by key.

    Args:
        most_keys: how many keys there may be; further ones are refused.
    """

    most_keys: int
    values: dict[bytes, bytes] = field(default_factory=dict)

    def answer(self, line: bytes) -> bytes:
        """Carry out a command and return its answer."""
        word, _, rest = line.strip().partition(b" ")
        match word.upper():
            case b"SET":
                return self._set(*rest.partition(b" "))
            case b"GET" if rest:
                value = self.values.get(rest)
                return b"NONE" if value is None else b"VALUE " + value
            case b"DEL" if rest:
                return b"NONE" if self.values.pop(rest, None) is None else b"OK"
            case b"COUNT" if not rest:
                return b"COUNT %d" % len(self.values)
            case b"GET" | b"DEL":
                return b"ERROR which key?"
        return b"ERROR expected SET key value, GET key, DEL key or COUNT"

    def _set(self, key: bytes, space: bytes, value: bytes) -> bytes:
        if not key or not space:
            return b"ERROR expected SET key value"
        if key not in self.values and len(self.values) >= self.most_keys:
            return b"ERROR full"
        self.values[key] = value
        return b"OK"
