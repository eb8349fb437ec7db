"""Run Twisted's own suites in this process, on one reactor, and write what became of each test.

    python run_suites.py stock|tcpd OUTPUT.json [MODULE ...]

"stock" is Twisted's epoll reactor with its own ports and transports, "tcpd" is ours. The suites
that build their own reactors build the same one. With TCPD_SHOW set, each test is named as it
starts.
"""

import json
import os
import sys
import tempfile
from importlib import import_module

SUITES = [
    "twisted.internet.test.test_tcp",
    "twisted.internet.test.test_tls",
    "twisted.internet.test.test_unix",
    "twisted.internet.test.test_endpoints",
    "twisted.internet.test.test_socket",
    "twisted.internet.test.test_fdset",
    "twisted.internet.test.test_core",
    "twisted.internet.test.test_base",
    "twisted.internet.test.test_posixbase",
    "twisted.internet.test.test_threads",
    "twisted.internet.test.test_time",
    "twisted.internet.test.test_epollreactor",
    "twisted.internet.test.test_udp",
    "twisted.internet.test.test_stdio",
    "twisted.internet.test.test_process",
    "twisted.internet.test.test_sigchld",
    "twisted.test.test_tcp",
    "twisted.test.test_tcp_internals",
    "twisted.test.test_ssl",
    "twisted.test.test_internet",
    "twisted.test.test_protocols",
    "twisted.test.test_policies",
    "twisted.test.test_abstract",
    "twisted.protocols.test.test_tls",
    "twisted.protocols.test.test_basic",
]

REACTORS = {
    "stock": "twisted.internet.epollreactor",
    "tcpd": "tcpd.net.reactor",
}

# Seconds after which a test that builds a reactor counts as hung; the slowest takes about one.
PATIENCE = 5


def main(which, output, suites):
    import_module(REACTORS[which]).install()

    from twisted.internet.test.reactormixins import ReactorBuilder
    from twisted.trial import reporter, runner

    ReactorBuilder._reactors = [f"{REACTORS[which]}.EPollReactor"]
    ReactorBuilder.getTimeout = lambda self: PATIENCE
    outcomes = {}
    nowhere = open(os.devnull, "w")  # noqa: SIM115  (as long as the process)

    class Recorder(reporter.Reporter):
        """Notes how each test ended; says nothing."""

        def __init__(self, stream, *arguments, **named):
            super().__init__(nowhere, *arguments, **named)

        def startTest(self, test):
            super().startTest(test)
            if "TCPD_SHOW" in os.environ:
                print(test.id(), file=sys.stderr)

        def addSuccess(self, test):
            super().addSuccess(test)
            outcomes.setdefault(test.id(), ["passed", ""])

        def addSkip(self, test, reason):
            super().addSkip(test, reason)
            outcomes[test.id()] = ["skipped", str(reason)]

        def addError(self, test, error):
            super().addError(test, error)
            outcomes[test.id()] = ["failed", str(error)]

        def addFailure(self, test, error):
            super().addFailure(test, error)
            outcomes[test.id()] = ["failed", str(error)]

        def addExpectedFailure(self, test, error, todo=None):
            super().addExpectedFailure(test, error, todo)
            outcomes[test.id()] = ["failed as expected", ""]

        def addUnexpectedSuccess(self, test, todo=None):
            super().addUnexpectedSuccess(test, todo)
            outcomes[test.id()] = ["passed unexpectedly", ""]

    with tempfile.TemporaryDirectory() as directory:
        trial = runner.TrialRunner(
            Recorder, workingDirectory=os.path.join(directory, "trial"), logfile="-"
        )
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (trial logs to it, and closes it)
        trial.run(runner.TestLoader().loadByNames(suites))
        with open(output, "w") as file:
            json.dump(outcomes, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:] or SUITES)
