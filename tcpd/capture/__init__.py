"""Copies of sessions' bytes in files: packets for Wireshark, or text."""
