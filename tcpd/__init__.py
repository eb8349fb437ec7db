"""tcpd: run any TCP protocol, written as ordinary Twisted classes, as a hardened service."""

__version__ = "0.1.0"
