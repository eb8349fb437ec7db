"""docs/metrics.md, the dashboard and the alert rules name the metrics that there are."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.hand import done
from helpers.reload_house import House

from tcpd.admin.controls import CLOSED, RESET
from tcpd.admin.metric_samples import DEADLINES
from tcpd.admin.metric_table import METRICS
from tcpd.admin.metrics import exposition
from tcpd.admission.refusals import BY_THE_GATE
from tcpd.tally import DURATIONS, MOST_REASONS, OTHER, SIZES
from tcpd.vitals import LAGS

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "metrics.md").read_text()
RULES = ROOT / "etc" / "prometheus" / "tcpd.rules.yml"
DASHBOARD = json.loads((ROOT / "etc" / "grafana" / "tcpd.json").read_text())
# What Prometheus itself adds.
OF_PROMETHEUS = {"up"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool isn't installed (Debian: apt-get install prometheus)",
)


def rows(heading):
    """Return the cells of the tables below a heading of the guide."""
    section = re.split(r"^## ", GUIDE, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(heading))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def expressions():
    """Return all that the dashboard and the rules ask Prometheus for."""
    found = re.findall(r"expr: (?:>-\n)?((?:.+\n)+?)\s*(?:for|labels):", RULES.read_text())
    assert len(found) == RULES.read_text().count("- alert:")
    panels = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
    ]
    notes = [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    variables = [each["query"] for each in DASHBOARD["templating"]["list"]]
    asked = [each["query"] for each in variables if isinstance(each, dict)]
    return [*found, *panels, *notes, *asked]


def names_in(expression):
    """Return the metrics that an expression asks for."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:tcpd_\w+|process_\w+|up(?=\{))", bare))


# -- the guide -------------------------------------------------------------------------------


def test_the_guide_has_every_metric_with_its_kind_its_labels_and_its_meaning() -> None:
    told = {
        name: (kind, re.findall(r"`(\w+)`", labels), meaning)
        for heading in ("Sessions", "Listeners", "Connectors", "Sinks", "Captures", "The process")
        for name, kind, labels, meaning in rows(heading)
    }
    for heading in ("metric", "---"):
        told.pop(heading)
    told = {name.strip("`"): rest for name, rest in told.items()}
    assert told == {each.name: (each.kind, list(each.labels), each.help) for each in METRICS}


def test_the_guide_has_every_label() -> None:
    told = {row[0].strip("`") for row in rows("Labels")[2:]}
    assert told == {label for each in METRICS for label in each.labels}
    assert f" {MOST_REASONS} are told apart" in GUIDE


def test_the_guide_has_the_buckets() -> None:
    told = {
        row[0].split("`")[1]: [float(each) for each in row[1].split(",")]
        for row in rows("Buckets")[2:]
    }
    assert told == {
        "tcpd_session_duration_seconds": list(DURATIONS),
        "tcpd_session_received_bytes": [float(each) for each in SIZES],
        "tcpd_loop_lag_seconds": list(LAGS),
    }


def test_the_guide_has_every_reason() -> None:
    told = {row[0].strip("`") for row in rows("Reasons")}
    in_code = BY_THE_GATE | DEADLINES | {CLOSED, RESET, OTHER, *reasons_in_code()}
    in_code -= {"refused"}  # of what the gate has turned away, and counted for its own reason
    assert told - {"reason", "---"} == in_code


def reasons_in_code():
    """Return the words that the source gives as causes of ends."""
    takes = {"abort_because", "close_because", "_blame"}
    for path in (ROOT / "tcpd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            function = getattr(node, "func", None)
            if getattr(function, "attr", "") in takes and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value
    causes = (ROOT / "tcpd" / "net" / "causes.py").read_text()
    yield from re.findall(r'"((?:peer|handler)-\w+|lost)"', causes)


# -- what Prometheus and Grafana read --------------------------------------------------------


@pytest.fixture
def scraped(tmp_path, monkeypatch):
    """What a daemon with one of everything gives, after some traffic."""
    house = House(tmp_path, monkeypatch)
    house.start(
        '[listeners.a]\nlisten = "tcp:0:interface=127.0.0.1"\nlimits = { sessions = 2 }\n'
        f'[connectors.c]\nconnect = "unix:{tmp_path}/nobody"\n'
        f'[sinks.s]\nkind = "jsonl"\noptions = {{ path = "{tmp_path}/events.jsonl" }}\n'
    )
    port = house.ports("a")[0].getHost().port
    for _ in range(3):
        house.talk(house.connect(port)) if len(house.clients) < 2 else house.connect(port)
    house.clients.pop(0).close()
    house.reactor.turn(5)
    body, _ = done(house.reactor, exposition(house.daemon))
    for client in house.clients:
        client.close()
    house.daemon.stopService()
    house.reactor.turn(5)
    house.daemon.sinks.finish()
    return body


def test_whatever_is_asked_for_is_given(scraped) -> None:
    text = scraped.decode()
    given = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line[:1] != "#"}
    # Those without a sample yet are announced all the same.
    given |= set(re.findall(r"^# TYPE (\S+) (?:counter|gauge)", text, re.MULTILINE)) | OF_PROMETHEUS
    asked = {name for each in expressions() for name in names_in(each)}
    assert asked - given == set()
    assert len(asked) > 30


def test_every_metric_that_an_operator_should_see_is_in_the_dashboard() -> None:
    asked = {name for each in expressions() for name in names_in(each)}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    unseen = {each.name for each in METRICS} - bare
    # One is told by another that is: tries by those that failed, and so on.
    assert unseen == {
        "process_virtual_memory_bytes",
        "tcpd_connector_tries_total",
        "tcpd_loop_lag_last_seconds",
        "tcpd_reloads_refused_total",
        "tcpd_sink_failures_total",
    }


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    assert DASHBOARD["uid"] == "tcpd"
    assert "id" not in DASHBOARD  # Grafana gives one; an alien one it takes for a change of another
    assert DASHBOARD["schemaVersion"] >= 36
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["type"] in ("stat", "timeseries")
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0
        for target in (panel, *panel["targets"]):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = {name for each in expressions() for name in re.findall(r"\$(\w+)", each)}
    assert used <= variables | {"__rate_interval", "labels", "value"}


@needs_promtool
def test_promtool_finds_nothing_wrong_with_a_scrape(scraped) -> None:
    check = subprocess.run(
        ["promtool", "check", "metrics"], input=scraped, capture_output=True, check=False
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


@needs_promtool
def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    check = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", str(RULES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


@needs_promtool
def test_promtool_understands_what_the_dashboard_asks_for(tmp_path) -> None:
    rules = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            asked = target["expr"].replace("$__rate_interval", "1m")
            rules.append({"record": f"panel_{panel['id']}_{target['refId']}", "expr": asked})
    path = tmp_path / "dashboard.yml"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    check = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr


# For each alert, what it should fire at, by the minute, and what it should not.
ALERTS = {
    "TcpdDown": ({'up{job="tcpd"}': "0x30"}, {'up{job="tcpd"}': "1x30"}),
    "TcpdListenerDown": (
        {'tcpd_listener_up{listener="a"}': "0x30", "tcpd_draining": "0x30"},
        {'tcpd_listener_up{listener="a"}': "0x30", "tcpd_draining": "1x30"},
    ),
    "TcpdConnectorDown": (
        {'tcpd_connector_up{listener="c"}': "0x30"},
        {'tcpd_connector_up{listener="c"}': "0x5 1x25"},
    ),
    "TcpdRefuses": (
        {'tcpd_sessions_refused_total{listener="a",reason="sessions"}': "0+60x30"},
        {'tcpd_sessions_refused_total{listener="a",reason="denied"}': "0+60x30"},
    ),
    "TcpdNearSessionLimit": (
        {
            'tcpd_sessions_open{listener="a",handler="x"}': "60x30",
            'tcpd_sessions_open{listener="a",handler="y"}': "35x30",
            'tcpd_sessions_limit{listener="a"}': "100x30",
        },
        {
            'tcpd_sessions_open{listener="a",handler="x"}': "60x30",
            'tcpd_sessions_limit{listener="a"}': "100x30",
        },
    ),
    "TcpdNearDescriptorLimit": (
        {'process_open_fds{job="tcpd"}': "95x30", 'process_max_fds{job="tcpd"}': "100x30"},
        {'process_open_fds{job="tcpd"}': "50x30", 'process_max_fds{job="tcpd"}': "100x30"},
    ),
    "TcpdAcceptStarves": (
        {'tcpd_accept_failures_total{listener="a",reason="starved"}': "0x15 1x15"},
        {'tcpd_accept_failures_total{listener="a",reason="failed"}': "0x15 1x15"},
    ),
    "TcpdHandlerFails": (
        {'tcpd_handler_failures_total{listener="a",handler="x"}': "0x15 1x15"},
        {'tcpd_handler_failures_total{listener="a",handler="x"}': "1x30"},
    ),
    "TcpdLoopLags": (
        {"tcpd_loop_lag_max_seconds": "0.5x30"},
        {"tcpd_loop_lag_max_seconds": "0.002x30"},
    ),
    "TcpdWriteStalls": (
        {'tcpd_deadlines_fired_total{listener="a",reason="write-stall"}': "0+5x30"},
        {'tcpd_deadlines_fired_total{listener="a",reason="idle"}': "0+5x30"},
    ),
    "TcpdHandshakesFail": (
        {
            'tcpd_tls_handshakes_total{listener="a"}': "0+1x30",
            'tcpd_tls_handshake_failures_total{listener="a"}': "0+9x30",
        },
        {
            'tcpd_tls_handshakes_total{listener="a"}': "0+90x30",
            'tcpd_tls_handshake_failures_total{listener="a"}': "0+9x30",
        },
    ),
    "TcpdSinkLoses": (
        {'tcpd_sink_records_lost_total{sink="s"}': "0x15 7x15"},
        {'tcpd_sink_records_lost_total{sink="s"}': "7x30"},
    ),
    "TcpdSinkFails": (
        {'tcpd_sink_failing{sink="s"}': "1x30"},
        {'tcpd_sink_failing{sink="s"}': "0x30"},
    ),
    "TcpdCaptureLoses": (
        {'tcpd_capture_lost_bytes_total{listener="a"}': "0x15 7x15"},
        {'tcpd_capture_lost_bytes_total{listener="a"}': "7x30"},
    ),
    "TcpdCaptureFails": (
        {'tcpd_capture_failing{listener="a"}': "1x30"},
        {'tcpd_capture_failing{listener="a"}': "0x30"},
    ),
    "TcpdReloadRefused": ({"tcpd_last_reload_ok": "0x30"}, {"tcpd_last_reload_ok": "1x30"}),
}


def test_every_alert_is_tried() -> None:
    assert set(re.findall(r"alert: (\w+)", RULES.read_text())) == set(ALERTS)


@needs_promtool
@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_at_what_it_is_for_and_at_nothing_else(alert, tmp_path) -> None:
    wrong, right = ALERTS[alert]
    assert fires(alert, wrong, tmp_path)
    assert not fires(alert, right, tmp_path)


def fires(alert, series, directory):
    """Return whether an alert fires after twenty minutes of some series."""
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "alert_rule_test": [{"eval_time": "20m", "alertname": alert, "exp_alerts": []}],
            }
        ],
    }
    path = directory / "test.yml"
    path.write_text(json.dumps(test))
    run = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    output = run.stdout + run.stderr
    assert run.returncode == 0 or f"alertname: {alert}" in output, output
    return run.returncode != 0
