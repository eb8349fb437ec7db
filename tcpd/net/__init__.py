"""The net layer: bytes between the kernel and a protocol."""
