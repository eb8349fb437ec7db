"""tcpd: run any TCP protocol, written as Twisted Protocol and Factory classes, as a hardened service."""

__version__ = "0.1.0"
