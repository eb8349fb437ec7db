"""The built-in handlers, one a file; `tcpd.registry` knows their names."""
