"""A small key-value store, served by tcpd."""
