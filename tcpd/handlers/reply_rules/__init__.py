"""The rules of the handler `reply`: read, checked, matched and answered, without I/O."""
