"""`tcpdctl tail`: events as they happen, a line each.

It ends with status 0 when the daemon does, and on Ctrl-C; with --reconnect, on Ctrl-C only. A
daemon that is silent for longer than it ever is hangs or is out of reach: that is an error, or as
good as its end with --reconnect. If nobody reads what it prints any more, it ends at once, and
not with the next event.
"""

from __future__ import annotations

import json
import os
import select
import stat
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable

from tcpd.ctl.api import Api
from tcpd.ctl.commands import check_listener, note
from tcpd.ctl.ending import CUT_OFF, OK, UNREACHABLE, USAGE, CtlError
from tcpd.ctl.server_sent import Message
from tcpd.ctl.shown import event_line
from tcpd.ctl.text import Paint, as_json, clean
from tcpd.event_names import EventPattern

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds between two tries to reach a daemon that is gone."""


def tail(api: Api, given: Namespace, sleep: Callable[[float], None] = time.sleep) -> int:
    """Print events until there are no more."""
    if given.event is not None:
        try:
            EventPattern.parse(given.event)
        except ValueError as problem:
            raise CtlError(USAGE, f"--event: {problem}") from None
    _end_with_reader()
    wait, met, lost = FIRST_WAIT, False, False
    while True:
        try:
            if not met and given.listener is not None:
                check_listener(api, given.listener)
            with api.events("api", "events", event=given.event, listener=given.listener) as events:
                if met:
                    _tell(given, "reconnected", f"the daemon on {api.place} is there again")
                met, wait, lost = True, FIRST_WAIT, False
                ended = False
                for message in events:
                    _say(message, given)
                    ended = message.event == "end"  # it has said why, which is enough
            if not given.reconnect:
                if not ended:
                    _tell(given, "disconnected", f"the daemon on {api.place} has ended")
                return OK
            _tell(given, "disconnected", f"the daemon on {api.place} is gone; waiting for it")
            lost = True
        except CtlError as error:
            if not given.reconnect or error.status != UNREACHABLE:
                raise
            if not lost:  # it is told once
                _tell(given, "disconnected", f"{clean(str(error), 500)}; waiting for it")
            met = lost = True
        except KeyboardInterrupt:
            return OK
        try:
            sleep(wait)
        except KeyboardInterrupt:
            return OK
        wait = min(LONGEST_WAIT, wait * 2)


def _end_with_reader() -> None:
    """End this process as soon as whoever reads its output through a pipe has gone."""
    try:
        if not stat.S_ISFIFO(os.fstat(1).st_mode):
            return
    except OSError:  # it is closed
        return
    gone = select.poll()
    gone.register(1, 0)  # POLLERR alone: there is no reader

    def watch() -> None:
        gone.poll()
        os._exit(CUT_OFF)  # all that was printed has been flushed, and nobody wants the rest

    threading.Thread(target=watch, daemon=True).start()


def _tell(given: Namespace, event: str, text: str) -> None:
    """Tell what has become of the stream: a person, or with --json a program."""
    if given.json:
        print(as_json({"event.name": event, "text": text}, indent=None), flush=True)
    else:
        note(text)


def _say(message: Message, given: Namespace) -> None:
    try:
        record = json.loads(message.data)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        record = {"data": message.data}
    if message.event == "end" and not given.json:
        note(f"the daemon ends the stream: {clean(record.get('reason'))}")
        return
    if message.event == "lost" and not given.json:
        note(f"{clean(record.get('lost'))} events were lost here: they come faster than is read")
        return
    if message.event != "message":  # what the stream itself has to tell
        record = {"event.name": message.event, **record}
    if given.json:
        print(as_json(record, indent=None), flush=True)
    else:
        print(event_line(record, Paint.of(sys.stdout)), flush=True)
