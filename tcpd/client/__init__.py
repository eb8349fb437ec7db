"""tcpd-client: talk to a TCP server by hand or from a pipe."""
