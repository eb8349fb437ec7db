"""A daemon with an admin side, turned by hand, and somebody who asks it over real sockets."""

import socket

from helpers import admin_http as http
from helpers.reload_house import House

TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LISTENER = '[listeners.echo]\nlisten = "tcp:0:interface=127.0.0.1"\n'


class AdminHouse(House):
    """A daemon with an admin side, and somebody who asks it."""

    def __init__(self, directory, monkeypatch):
        super().__init__(directory, monkeypatch)
        (directory / "token").write_text(TOKEN)

    def configuration(self, port=0, more="", listener=LISTENER):
        return (
            f'[admin]\nlisten = "tcp:{port}:interface=127.0.0.1"\ntoken_file = "token"\n{more}\n'
            + listener
        )

    @property
    def admin_port(self):
        (port,) = self.daemon.roster.aside["admin"].ports
        return port.getHost().port

    def dial(self, port=None):
        client = socket.create_connection(("127.0.0.1", port or self.admin_port), timeout=5)
        self.clients.append(client)
        self.reactor.turn(3)
        return client

    def exchange(self, client, data, *, head=False, turns=60):
        """Send a request and return the answer."""
        client.sendall(data)
        said = b""
        for _ in range(turns):
            self.reactor.turn()
            self.reactor.advance(0)
            said += self.hear_all(client)
            try:
                reply, rest = http.parse(said, head=head)
            except ValueError:
                continue
            assert not rest
            return reply
        raise AssertionError(f"no answer: {said!r}")

    def hear_all(self, client):
        client.setblocking(False)
        said = b""
        try:
            while data := client.recv(65536):
                said += data
        except BlockingIOError:
            pass
        except ConnectionResetError:
            pass
        client.setblocking(True)
        return said

    def ask(self, data, **more):
        return self.exchange(self.dial(), data, **more)

    def get(self, path, **more):
        return self.ask(http.request("GET", path, **more))

    def change(self, path, view=None, *, token=TOKEN, **more):
        return self.ask(http.post(path, view, token=token, **more))

    def wait(self, seconds=1.0):
        """Let time pass."""
        for _ in range(int(seconds / 0.05) + 1):
            self.reactor.advance(0.05)
            self.reactor.turn()

    def stream(self, path, **headers):
        """Return a client that reads a stream, which has begun."""
        client = self.dial()
        client.sendall(http.request("GET", path, headers=headers))
        self.wait(0.2)
        return client

    def told(self, client, seconds=0.3):
        """Return the events that come in some time; not the head of the answer."""
        self.wait(seconds)
        said = self.hear_all(client)
        if said.startswith(b"HTTP/1.1"):
            said = said.partition(b"\r\n\r\n")[2]
        return http.events(http.dechunk(said))

    @property
    def session(self):
        (session,) = self.daemon.listeners["echo"].serving.origin.sessions.values()
        return session
