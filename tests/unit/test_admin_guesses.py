"""Wrong tokens leave a trace, and don't come fast; the right one always works."""

from helpers import admin_http as http
from helpers.admin_house import BEARER
from twisted.logger import capturedLogs, formatEvent

WRONG = {"Authorization": "Bearer nothing-like-it"}


def warnings(found):
    return [formatEvent(each) for each in found if each["log_level"].name == "warn"]


def counted(house):
    body = house.get("/metrics").body.decode()
    (line,) = (e for e in body.splitlines() if e.startswith("tcpd_admin_wrong_tokens_total "))
    return float(line.split()[1])


def test_wrong_tokens_are_counted(house):
    assert counted(house) == 0
    for _ in range(3):
        assert house.get("/api/status", headers=WRONG).status == 401
    assert house.get("/api/status", headers={"Authorization": "Basic eDp5"}).status == 401
    assert house.change("/api/reload").status == 200
    assert house.change("/api/reload", token="").status == 401
    assert counted(house) == 3


def test_they_are_in_the_log_with_who_sent_them_but_not_each(house):
    with capturedLogs() as found:
        for _ in range(5):
            house.get("/api/status", headers=WRONG)
        assert warnings(found) == ["admin: 127.0.0.1 has sent a wrong token"]
        house.wait(10.1)
        text = "admin: 4 wrong tokens within 10 seconds, the last from 127.0.0.1"
        assert warnings(found)[1:] == [text]
        house.wait(30)
        assert len(warnings(found)) == 2
        house.get("/api/status", headers=WRONG)
        assert warnings(found)[2:] == ["admin: 127.0.0.1 has sent a wrong token"]


def test_what_was_not_said_yet_is_said_at_the_end(house):
    house.get("/api/status", headers=WRONG)
    with capturedLogs() as found:
        house.get("/api/status", headers=WRONG)
        house.daemon.stopService()
        house.wait(1)
    assert warnings(found) == ["admin: 127.0.0.1 has sent a wrong token"]


def test_those_that_come_too_fast_are_braked_and_nobody_else(house):
    replies = [house.get("/api/status", headers=WRONG) for _ in range(12)]
    assert [each.status for each in replies] == [401] * 10 + [429] * 2
    assert (replies[-1].headers["retry-after"], replies[-1].headers["connection"]) == ("1", "close")
    assert house.get("/api/status", headers=BEARER).status == 200
    assert house.get("/api/status").status == 200
    house.wait(0.2)
    statuses = [house.get("/api/status", headers=WRONG).status for _ in range(4)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    client = house.dial()
    house.exchange(client, http.request("GET", "/api/status", headers=WRONG))
    house.wait(0.1)
    assert client.recv(1) == b""
