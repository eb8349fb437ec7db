"""The admin side's HTTP, over real sockets, on a daemon that is turned by hand."""

import socket

import pytest
from helpers import admin_http as http
from helpers.admin_house import BEARER, LISTENER, TOKEN
from twisted.logger import formatEvent

from tcpd.admin.answers import HEADERS
from tcpd.admin.views import Views

# -- what every answer has ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/app.js",
        "/style.css",
        "/icon.svg",
        "/healthz",
        "/readyz",
        "/metrics",
        "/nothing",
        "/api/status",
        "/api/sessions",
        "/api/sessions/x-1",
        "/api/handlers",
        "/api/loglevel",
    ],
)
def test_every_answer_keeps_browsers_at_bay(house, path):
    reply = house.get(path)
    for name, value in HEADERS.items():
        assert reply.headers[name.decode().lower()] == value.decode()
    assert "server" not in reply.headers
    policy = reply.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")


def test_an_error_is_json_with_a_hint(house):
    reply = house.get("/nothing")
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/json"
    assert reply.json.keys() == {"error", "hint"}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/status", "GET, HEAD"),
        ("PUT", "/api/reload", "POST"),
        ("GET", "/api/reload", "POST"),
        ("DELETE", "/", "GET, HEAD"),
        ("OPTIONS", "/api/loglevel", "GET, HEAD, POST"),
        ("TRACE", "/healthz", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(house, method, path, allow):
    reply = house.ask(http.request(method, path, headers=BEARER))
    assert (reply.status, reply.headers["allow"]) == (405, allow)
    assert "error" in reply.json


@pytest.mark.parametrize("path", ["/", "/api/status", "/metrics", "/healthz", "/api/events"])
def test_a_head_is_an_answer_without_its_body(house, path):
    reply = house.ask(http.request("HEAD", path), head=True)
    assert (reply.status, reply.body) == (200, b"")


def test_a_connection_serves_several_requests(house):
    client = house.dial()
    for _ in range(3):
        assert house.exchange(client, http.request("GET", "/healthz")).body == b"ok\n"


def test_requests_may_come_at_once(house):
    client = house.dial()
    client.sendall(http.request("GET", "/api/loglevel") * 300)
    said = b""
    for _ in range(20):
        house.wait(0.1)
        said += house.hear_all(client)
    for _ in range(300):
        reply, said = http.parse(said)
        assert reply.json == {"level": "info"}
    assert said == b""


def test_who_sends_no_more_gets_all_answers(house):
    client = house.dial()
    client.sendall(http.request("GET", "/api/status") + http.request("GET", "/healthz"))
    client.shutdown(socket.SHUT_WR)
    house.wait(0.5)
    said = house.hear_all(client)
    first, rest = http.parse(said)
    second, rest = http.parse(rest)
    assert (first.json["state"], second.body, rest) == ("running", b"ok\n", b"")
    assert client.recv(1) == b""


# -- what isn't right ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"GET\r\n\r\n", b"<script>\r\n\r\n"]
)
def test_what_is_no_http_gets_a_bare_answer(house, data):
    reply = house.ask(data)
    assert reply.status == 400
    assert reply.headers["connection"] == "close"
    assert reply.json["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"{", "application/json", 400, "isn't JSON"),
        (b"[]", "application/json", 400, "isn't a JSON object"),
        (b"\xff", "application/json", 400, "isn't JSON"),
        (b"[" * 60000, "application/json", 400, "isn't JSON"),
        (b'{"levle": "debug"}', "application/json", 400, "unknown key"),
        (
            b'{"level": "debug", "level": "info"}',
            "application/json",
            400,
            "level: it is there twice",
        ),
        (b'{"level": 1}', "application/json", 400, "it isn't a text"),
        (b"{}", "application/json", 400, "it is missing"),
        (b'{"level": "loud"}', "application/json", 400, "there is no level"),
        (b'{"level": "debug"}', "text/plain", 415, "expected a body of JSON"),
        (b"level=debug", "application/x-www-form-urlencoded", 415, "expected a body of JSON"),
        (b"--x", "multipart/form-data; boundary=x", 415, "expected a body of JSON"),
    ],
)
def test_a_body_that_isnt_right(house, body, kind, status, words):
    headers = {**BEARER, "Content-Type": kind}
    reply = house.ask(http.request("POST", "/api/loglevel", headers=headers, body=body))
    assert reply.status == status
    assert words in reply.json["error"]


def test_a_key_that_was_mistyped_is_told_the_right_one(house):
    reply = house.change("/api/loglevel", {"levle": "debug"})
    assert reply.json["hint"] == "did you mean 'level'?"
    reply = house.get("/api/sessions?lis%00ener=x")
    assert reply.json["hint"] == "did you mean 'listener'?"
    assert reply.json["error"] == r"unknown key 'lis\0ener'"


@pytest.mark.parametrize(
    "query",
    [
        "limit=x",
        "limit=-1",
        "limit=1&limit=2",
        "sort=color",
        "filter=" + "x" * 201,
        "offset=1e3",
        "nothing=1",
        "limit=99999999999999999999",
    ],
)
def test_a_query_that_isnt_right(house, query):
    assert house.get(f"/api/sessions?{query}").status == 400
    assert house.get(f"/api/stream?{query}").status == 400


def test_the_number_of_a_session_may_be_too_long_to_be_one(house):
    reply = house.get(f"/api/sessions/x-{'9' * 5000}")
    assert reply.status == 404
    assert len(reply.body) < 300


def test_a_change_with_a_query_is_refused_lest_it_does_something_else(house):
    reply = house.change("/api/listeners/echo/suspend?listener=other")
    assert reply.status == 400
    assert "in the body" in reply.json["hint"]
    assert not house.daemon.listeners["echo"].suspended
    assert house.change("/api/listeners/echo/suspend?").status == 200


@pytest.mark.parametrize("name", ["Host", "Authorization", "Origin", "Content-Type"])
def test_a_header_that_is_there_twice_is_refused(house, name):
    value = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}", "Origin": "http://localhost"}
    line = f"{name}: {value.get(name, 'application/json')}\r\n".encode()
    data = http.post("/api/loglevel", {"level": "info"}, token=TOKEN)
    first, _, rest = data.partition(b"\r\n")
    has = name in ("Host", "Authorization", "Content-Type")
    reply = house.ask(first + b"\r\n" + line * (1 if has else 2) + rest)
    assert reply.status == 400
    assert "twice" in reply.json["error"]


def test_a_mistake_of_ours_shows_no_more_than_that(house, monkeypatch, logged):
    async def fail(self):
        raise RuntimeError("secret")

    monkeypatch.setattr(Views, "status", fail)
    reply = house.get("/api/status")
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert b"Traceback" not in reply.body
    (event,) = [each for each in logged if "log_failure" in each]
    assert "secret" in str(event["log_failure"].value)


def test_who_leaves_before_the_answer_disturbs_nobody(house, logged):
    client = house.dial()
    client.sendall(http.request("GET", "/api/status"))
    client.close()
    house.wait(0.5)
    assert not [each for each in logged if "log_failure" in each]
    assert house.get("/healthz").status == 200


# -- rights, over the wire ----------------------------------------------------------------------


def test_everybody_on_this_machine_may_look_and_only_the_token_changes(house):
    assert house.get("/api/status").status == 200
    assert house.change("/api/reload", token="").status == 401
    assert house.change("/api/reload", token="wrong-token-altogether").status == 401
    assert house.change("/api/reload").json == {"ok": True, "changes": []}


def test_what_acts_and_what_shows_bytes_needs_the_token(house):
    house.connect(house.ports("echo")[0].getHost().port)
    one = house.session.id
    for path in (f"/api/sessions/{one}/close", "/api/listeners/echo/drain", "/api/reload",
                 "/api/listeners/echo/suspend", "/api/listeners/echo/resume", "/api/loglevel",
                 "/api/capture"):  # fmt: skip
        assert house.change(path, token="").status == 401, path
    assert house.get(f"/api/sessions/{one}/tap").status == 401
    assert house.daemon.listeners["echo"].suspended is False


def test_with_an_address_for_others_nobody_looks_without_the_token(house, tmp_path):
    house.reload(house.configuration().replace(":interface=127.0.0.1", "", 1))
    assert house.get("/api/status").status == 401
    assert house.get("/metrics").status == 401
    assert house.get("/api/stream").status == 401
    assert house.get("/api/status", headers=BEARER).status == 200
    for public in ("/healthz", "/readyz", "/", "/app.js"):
        assert house.get(public).status == 200, public


def test_it_answers_to_no_other_name_but_to_probes(house):
    for path in ("/", "/api/status", "/metrics"):
        assert house.get(path, host="evil.example").status == 403
        assert house.get(path, host=None).status in (400, 403)
    assert house.get("/healthz", host="10.1.2.3").status == 200
    assert house.get("/readyz", host="10.1.2.3").status == 200


def test_a_page_of_another_site_changes_nothing(house):
    reply = house.change("/api/reload", headers={"Origin": "http://evil.example"})
    assert reply.status == 403
    assert house.change("/api/reload", headers={"Origin": "http://localhost"}).status == 200


def of_who_asked(logged):
    """Return the lines of the log that say who has asked for something, without the beginning."""
    lines = [formatEvent(each) for each in logged if each.get("peer")]
    assert all(line.startswith("admin: /api/") and line.isprintable() for line in lines)
    assert TOKEN not in str(logged)
    return [line.removeprefix("admin: /api/") for line in lines]


def test_who_changes_what_is_in_the_log_and_what_has_become_of_it(house, logged):
    house.change("/api/listeners/echo/suspend")
    house.change("/api/listeners/nil/suspend")
    house.change("/api/loglevel", {"level": "info"})
    house.change("/api/reload")
    why_not = "twistd was given a log of its own, whose level isn't ours to change"
    assert of_who_asked(logged) == [
        "listeners/echo/suspend is asked for by 127.0.0.1: done",
        "listeners/nil/suspend is asked for by 127.0.0.1: 404, there is no listener 'nil'",
        f'loglevel is asked for by 127.0.0.1 with level="info": 409, {why_not}',
        "reload is asked for by 127.0.0.1: done",
    ]


def test_who_listens_in_is_in_the_log(house, logged, tmp_path):
    house.reload(house.configuration(more=f'[capture]\npath = "{tmp_path}"\n'))
    house.connect(house.ports("echo")[0].getHost().port)
    one, other = house.session.id, {"listener": "nil"}
    house.change("/api/capture", {"action": "start", "session": one, "file": "x"})
    house.change("/api/capture", {"action": "start", "session": one, "file": "y"})
    house.change("/api/capture", {"action": "stop", "session": one})
    house.change("/api/capture", {"action": "stop", **other})
    house.stream(f"/api/sessions/{one}/tap", **BEARER)
    house.get("/api/sessions/none-1/tap", headers=BEARER)
    asked = "capture is asked for by 127.0.0.1 with action"
    none = "there is no session 'none-1'; it may have ended"
    assert of_who_asked(logged) == [
        f'{asked}="start", session="{one}", file="x": done, {tmp_path}/x.pcapng',
        f'{asked}="start", session="{one}", file="y": 409, session {one} is being captured already',
        f'{asked}="stop", session="{one}": done, {tmp_path}/x.pcapng',
        f'{asked}="stop", listener="nil": 404, there is no listener or connector \'nil\'',
        f"sessions/{one}/tap is asked for by 127.0.0.1: done",
        f"sessions/none-1/tap is asked for by 127.0.0.1: 404, {none}",
    ]


def test_a_mistake_of_ours_has_a_line_with_who_asked_too(house, monkeypatch, logged):
    monkeypatch.setattr(house.daemon.captures, "stop", None)
    house.change("/api/capture", {"action": "stop", "listener": "echo"})
    (line,) = of_who_asked(logged)
    assert line.endswith('listener="echo": 500, this failed, by a mistake of tcpd\'s')


def test_nothing_is_in_the_log_of_who_only_looks_or_may_do_nothing(house, logged):
    house.get("/api/status")
    house.get("/api/sessions/none-1/tap")
    house.change("/api/reload", token="")
    assert not of_who_asked(logged)


def test_what_somebody_writes_is_escaped_in_the_log_and_bounded(house, logged):
    house.ask(http.post("/api/listeners/%1b[2J\x7f/suspend", token=TOKEN))
    house.change("/api/loglevel", {"level": '\x1b" \n\u202e' + "x" * 5000})
    house.change("/api/loglevel", {"level": [[1]]})
    house.change("/api/loglevel", {"x" * 5000: 1})
    house.change("/api/sessions/none-1/close", {"reset": True})
    path, level, kind, key, flag = of_who_asked(logged)
    assert path.startswith(r"listeners/%1b[2J\x7f/suspend is asked")
    assert r'with level="\x1b\" \n\u202exxx' in level
    assert "level=(no text): 400, level: it isn't a text" in kind
    assert "by 127.0.0.1: 400, unknown key 'xxx" in key
    assert "with reset=true: 404" in flag
    assert max(len(each) for each in (level, kind, key)) < 400


# -- looking ------------------------------------------------------------------------------------


def test_a_session_from_the_list_to_its_end(house):
    client = house.connect(house.ports("echo")[0].getHost().port)
    house.talk(client, b"hello")
    (one,) = house.get("/api/sessions").json["sessions"]
    assert one["bytes"] == {"in": 5, "out": 5}
    view = house.get(f"/api/sessions/{one['id']}").json
    assert view["tcp"]["state"] == "established"
    assert view["client"]["port"] == client.getsockname()[1]
    reply = house.change(f"/api/sessions/{one['id']}/close")
    assert reply.json == {"closed": one["id"], "reset": False}
    house.reactor.turn(3)
    assert client.recv(10) == b""
    assert house.get(f"/api/sessions/{one['id']}").status == 404
    assert house.change(f"/api/sessions/{one['id']}/close").status == 404


def test_a_reset_is_one(house):
    client = house.connect(house.ports("echo")[0].getHost().port)
    house.change(f"/api/sessions/{house.session.id}/close", {"reset": True})
    with pytest.raises(ConnectionResetError):
        client.recv(10)


def test_its_own_sessions_are_nobodys_business(house):
    status = house.get("/api/status").json
    assert [each["name"] for each in status["listeners"]] == ["echo"]
    assert status["sessions"]["total"] == 0
    assert house.get("/api/sessions").json == {"total": 0, "sessions": []}
    assert b'listener="admin"' not in house.get("/metrics").body


def test_its_connections_take_no_numbers_from_sessions(house):
    port = house.ports("echo")[0].getHost().port
    house.connect(port)
    for _ in range(3):
        house.get("/healthz")
    house.connect(port)
    first, second = [each["id"] for each in house.get("/api/sessions").json["sessions"]]
    assert int(second.partition("-")[2]) == int(first.partition("-")[2]) + 1


def test_metrics_are_prometheus_text(house):
    reply = house.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert b"# TYPE tcpd_" in reply.body


def test_suspend_resume_and_a_listener_that_there_isnt(house):
    assert house.change("/api/listeners/echo/suspend").json["state"] == "suspended"
    assert house.get("/api/status").json["listeners"][0]["state"] == "suspended"
    assert house.change("/api/listeners/echo/resume").json["state"] == "up"
    reply = house.change("/api/listeners/ehco/drain")
    assert reply.status == 404
    assert "did you mean 'echo'" in reply.json["error"]


def test_a_reload_that_is_refused_says_all_that_is_wrong(house):
    house.path.write_text(house.configuration() + "[stop]\ndrian = 1\ndrain = 'x'\n")
    reply = house.change("/api/reload")
    assert reply.status == 409
    assert len(reply.json["errors"]) == 2


def test_a_capture_needs_somewhere_to_go(house):
    reply = house.change("/api/capture", {"action": "start", "listener": "echo"})
    assert reply.status == 409
    assert "no directory is configured" in reply.json["error"]
    for wish in ({"file": "../x"}, {"file": "a\0b"}, {"format": "pcap"}):
        reply = house.change("/api/capture", {"action": "start", "listener": "echo", **wish})
        assert reply.status == 400, wish
        assert "\\\\" not in reply.json["error"]
    assert house.change("/api/capture", {"action": "begin", "listener": "echo"}).status == 400
    assert house.change("/api/capture", {"action": "start"}).status == 400
    assert house.change("/api/capture", {"action": "stop", "listener": "nil"}).status == 404


def test_a_capture_outlives_its_listeners_name_and_can_be_stopped_by_it(house, tmp_path):
    there = f'[capture]\npath = "{tmp_path}"\n'
    house.reload(house.configuration(more=there))
    house.connect(house.ports("echo")[0].getHost().port)
    one, of_echo = house.session.id, {"listener": "echo"}
    assert house.change("/api/capture", {"action": "start", **of_echo}).status == 200
    house.reload(house.configuration(more=there, listener=LISTENER.replace("echo", "other")))
    (listed,) = house.get("/api/captures").json
    assert (listed["listener"], listed["sessions"], listed["state"]) == ("echo", 1, "running")
    assert house.get(f"/api/sessions/{one}").json["capture"] == listed
    reply = house.change("/api/capture", {"action": "stop", "session": one})
    assert reply.status == 409
    assert "tcpdctl capture stop --listener echo" in reply.json["error"]
    assert house.change("/api/capture", {"action": "start", **of_echo}).status == 404
    reply = house.change("/api/capture", {"action": "stop", **of_echo})
    assert (reply.status, reply.json["state"], reply.json["sessions"]) == (200, "ended", 0)
    assert house.get(f"/api/sessions/{one}").json["capture"] is None
