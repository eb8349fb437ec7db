"""The servers that are compared, each a process of its own.

Rules:
- Each is written as its library's documentation would have it, with nothing tuned away.
- Each is run as `python -m bench.servers.NAME KIND [PEM]`, listens on a port of loopback that the
  kernel chose, prints `port N`, and serves until it is ended.
- A KIND is `echo`, `lines` (every line goes back by a write of its own) or `tls` (echo; PEM is a
  file with a certificate and its key).
"""
