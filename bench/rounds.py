"""The run: rounds, and in each of them every case on every server, neighbours back to back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.cases import Case, Kind
from bench.contestants import Contestant
from bench.load import Load, Sample, Timing
from bench.process import Server, ServerError, allow_many_files, our_cores
from bench.tools import Tools

# Descriptors that a server has open besides its sessions.
OTHER_FILES = 200


def take_turns(
    cases: Sequence[Case],
    contestants: Sequence[Contestant],
    *,
    rounds: int,
    timing: Timing,
    tools: Tools,
    directory: Path,
    say: Callable[[str], None],
) -> tuple[list[Sample], list[str]]:
    """Measure everything, `rounds` times.

    All servers run all the time; who isn't measured waits, which costs nothing. For memory each has
    a fresh process, since what is freed is used again and wouldn't show.

    Args:
        cases: what to measure.
        contestants: who is measured.
        rounds: how often.
        timing: how long each measurement takes.
        tools: what the load needs.
        directory: for the servers' output.
        say: told of the progress, and of what is left out.

    Returns:
        what was measured, and what failed: a server under load fails for that once, and is started
        anew.

    Raises:
        ServerError: a server doesn't start; the text names it.
    """
    cores = our_cores()
    files = allow_many_files()
    plain = Load(tools.load, cores.load, timing)
    tls = None if tools.load_tls is None else Load(tools.load_tls, cores.load, timing)
    if tls is None and any(case.kind == "tls" for case in cases):
        say("left out: TLS; compiling it needs OpenSSL's headers (libssl-dev) and its command")
        cases = [case for case in cases if case.kind != "tls"]
    if cores.load is None:
        say("there is one core only: servers and load share it, and figures mean little")
    if any(case.connections + OTHER_FILES > files for case in cases):
        say(f"left out: what needs more than {files} open files (ulimit -Hn)")
        cases = [case for case in cases if case.connections + OTHER_FILES <= files]
    present = []
    for each in contestants:
        if each.lacks():
            say(f"left out: {each.title}; {each.lacks()} isn't installed (pip install '.[bench]')")
        else:
            present.append(each)

    def start(each: Contestant, kind: Kind) -> Server:
        log = directory / f"{each.name}-{kind}.log"
        try:
            return Server(each.command(kind, tools), log, cores.server)
        except ServerError as error:
            raise ServerError(f"{each.title}, {kind}: {error}") from None

    def measure(case: Case, each: Contestant, number: int) -> Sample:
        load = tls if case.kind == "tls" and tls is not None else plain
        try:
            if case.mode == "idle":
                with start(each, case.kind) as fresh:
                    return load.measure_memory(case, fresh, each.name, number)
            return load.measure(case, servers[each.name, case.kind], each.name, number)
        except ServerError as error:
            raise ServerError(f"{each.title}, {case.title}: {error}") from None

    samples: list[Sample] = []
    failures: list[str] = []
    servers: dict[tuple[str, Kind], Server] = {}
    with ExitStack() as running:
        for case in cases:
            for each in present:
                key = each.name, case.kind
                if case.mode != "idle" and each.takes(case) and key not in servers:
                    servers[key] = running.enter_context(start(each, case.kind))
        for number in range(rounds):
            for case in cases:
                able = [each for each in present if each.takes(case)]
                # Who comes first changes from round to round, lest a place bring luck.
                first = number % len(able) if able else 0
                rates = {}
                for each in able[first:] + able[:first]:
                    try:
                        sample = measure(case, each, number)
                    except ServerError as error:
                        failures.append(str(error))
                        say(f"failed: {error}")
                        if case.mode != "idle":
                            servers[each.name, case.kind].end()
                            fresh = running.enter_context(start(each, case.kind))
                            servers[each.name, case.kind] = fresh
                    else:
                        samples.append(sample)
                        rates[each.name] = f"{sample.rate:.0f}"
                shown = "  ".join(f"{each.name} {rates.get(each.name, '-')}" for each in able)
                say(f"round {number + 1}/{rounds}  {case.name:16} {shown}")
    return samples, failures
