"""`twistd tcpd`: its command line, and the service that comes of it.

Rules:
- What is wrong is said in one line each, without a traceback. Exit status 2: the command line; 78
  (EX_CONFIG): the configuration; 1: what fails at start.
- A flag goes over what the configuration file says.
"""

from __future__ import annotations

import atexit
import os
import platform
import pwd
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, NoReturn

from twisted.logger import LogLevel
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

import twisted
from tcpd import __version__, signals
from tcpd.config.command_line import Flags, overlay
from tcpd.config.dump import dump
from tcpd.config.load import build_config
from tcpd.config.schema import Config
from tcpd.daemon import Daemon
from tcpd.endpoint_plugins import installed_kinds
from tcpd.errors import ConfigError, ConfigErrors, TcpdError, did_you_mean
from tcpd.pid_file import PidFile
from tcpd.registry import build_handler, list_handlers, list_plugins
from tcpd.sd_notify import ServiceManager
from tcpd.sink_registry import build_sink
from tcpd.sinks.log_switch import LogSwitch
from tcpd.toml_file import TomlFile

EX_FAILURE = 1
EX_USAGE = 2
EX_CONFIG = 78  # sysexits(3)


class Options(UsageOptions):
    """The command line of `twistd tcpd`.

    Attributes:
        configuration: what it asks for, once it has been parsed.
        log: what writes the log, unless twistd was told of a log of its own.
        pid_file: the file that says which process we are, in place of twistd's own; None for none.
        left_behind: the process that has left that file behind, or 0.
        owner: the user and group that twistd makes us, by number; None if we stay who we are.
    """

    synopsis = "[--port N] [--handler NAME] [--option KEY=VALUE]... | --config FILE"
    longdesc = (
        "Run TCP handlers. Without arguments: echo on port 9999 of this machine."
        " What concerns the process (daemon, pid file, reactor) comes before the word tcpd:"
        " see twistd --help."
    )
    optParameters = [  # noqa: N815
        ["port", "p", None, "Listen on this TCP port, 0 for any that is free. [9999]"],
        ["interface", "i", None, "The IP address that --port listens on. [127.0.0.1]"],
        ["handler", "H", None, "What serves: a name, module:Class or file.py:Class. [echo]"],
        ["config", "c", None, "Read this TOML file; other flags go over what it says."],
        ["tls-certificate", None, None, "Speak TLS with this certificate (PEM)."],
        ["tls-key", None, None, "The certificate's key (PEM), unless the same file holds it."],
    ]
    optFlags = [  # noqa: N815
        ["check-config", None, "Check the configuration, print ok, and exit."],
        ["print-config", None, "Print the configuration with all its defaults, and exit."],
        ["list-handlers", None, "Print the handlers that have names, and exit."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._listen: list[str] = []
        self._handler_options: dict[str, list[str]] = {}
        self.configuration: Config | None = None
        self.log: LogSwitch | None = None
        self.pid_file: PidFile | None = None
        self.left_behind = 0
        self.owner: tuple[int, int] | None = None
        self._directory = Path.cwd()

    def opt_listen(self, endpoint: str) -> None:
        """Listen on an endpoint: tcp:9999:interface=127.0.0.1, unix:/run/x.sock; repeatable."""
        self._listen.append(endpoint)

    opt_l = opt_listen

    def opt_option(self, text: str) -> None:
        """An option of the handler, as key=value; repeatable, also for the items of a list."""
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--option {text!r}: expected key=value")
        self._handler_options.setdefault(key, []).append(value)

    opt_o = opt_option

    def opt_version(self) -> NoReturn:
        """Print the versions of tcpd, Twisted and Python, and exit."""
        python = platform.python_version()
        print(f"tcpd {__version__} (Twisted {twisted.__version__}, Python {python})")
        sys.exit(0)

    def parseArgs(self, *rest: str) -> None:
        """Refuse what is no flag."""
        if rest:
            raise UsageError(f"unexpected argument {rest[0]!r}; every option begins with --")

    def parseOptions(self, options: Any = None) -> None:
        """Parse the command line; a mistake in it ends the process with status 2."""
        try:
            super().parseOptions(options)
        except UsageError as error:
            _end(EX_USAGE, f"tcpd: {_explained(str(error), self.longOpt)}")

    def postOptions(self) -> None:
        """Read the configuration, or do what only prints."""
        prints = self["check-config"] or self["print-config"] or self["list-handlers"]
        if self.parent is not None and not prints:
            signals.begin()
        if self["list-handlers"]:
            sys.exit(_print_handlers())
        self.configuration = config = self._read()
        if self["check-config"] or self["print-config"]:
            _build(self)
            print("ok" if self["check-config"] else dump(config))
            sys.exit(0)
        runner = self.parent if self.parent is not None else {}
        self.owner = _future_owner(runner)
        self._take_over_log(config, runner)
        self._take_over_pid_file(runner)

    @property
    def flags(self) -> Flags:
        """What the command line says of a listener."""
        return Flags(
            port=self["port"],
            interface=self["interface"],
            listen=tuple(self._listen),
            handler=self["handler"],
            options=self._handler_options,
            certificate=self["tls-certificate"],
            key=self["tls-key"],
        )

    def read_again(self) -> Config:
        """Return the configuration as the file says it now, with the command line over it.

        Raises:
            TcpdError: it is wrong: `ConfigErrors` with all the mistakes, or a `ConfigError`.
        """
        file = None
        if self["config"] is not None:
            path = Path(self["config"])
            # twistd may have moved since (--rundir). Where it hasn't, a mistake's place is told as
            # it was at the start.
            file = TomlFile.read(path if _is_here(self._directory) else self._directory / path)
        table, source = overlay(self.flags, file.table if file else None, file, self._directory)
        return build_config(table, source, build_handler, installed_kinds, build_sink)

    def _read(self) -> Config:
        """Return the configuration; what is wrong with it ends the process."""
        try:
            if self["config"] == "":
                raise ConfigError("--config", "expected a file, not an empty text")
            return self.read_again()
        except (ConfigError, ConfigErrors) as error:
            errors = error.errors if isinstance(error, ConfigErrors) else (error,)
            by_flags = self["config"] is None or all(each.where[:2] == "--" for each in errors)
            lines = [f"tcpd: {each}" if each.where[:2] == "--" else str(each) for each in errors]
            _end(EX_USAGE if by_flags else EX_CONFIG, "\n".join(lines))

    def _take_over_pid_file(self, runner: MutableMapping[str, Any]) -> None:
        """Write the pid file in twistd's place, which follows symbolic links and locks nothing."""
        if not runner.get("pidfile"):
            return
        self.pid_file = PidFile(Path(runner["pidfile"]))
        try:
            self.left_behind = self.pid_file.claim()
        except TcpdError as error:
            status = EX_USAGE if isinstance(error, ConfigError) else EX_FAILURE
            _end(status, f"tcpd: {error}")
        runner["pidfile"] = ""
        atexit.register(self.pid_file.remove)

    def _take_over_log(self, config: Config, runner: MutableMapping[str, Any]) -> None:
        """Have twistd, or twist, log as the configuration says, unless told otherwise itself."""
        if runner.get("logger") or runner.get("syslog") or _twist_was_told(runner):
            return
        default = None
        if runner.get("logfile") not in (None, "", "-"):
            default = Path(runner["logfile"])
        elif runner.get("nodaemon") == 0:
            default = Path("twistd.log")  # as twistd does: a daemon has no standard output
        says = config.log
        try:
            log = LogSwitch(
                os.environ,
                default,
                form=says.format,
                file=says.file,
                level=says.level,
                owner=self.owner,
            )
        except TcpdError as error:
            _end(EX_FAILURE, f"tcpd: {error}")
        self.log = log
        if "fileLogObserverFactory" in runner:  # twist; twistd asks the service, once it is made
            runner["fileLogObserverFactory"] = lambda stream: log


def _is_here(directory: Path) -> bool:
    """Return whether a directory is the current one."""
    try:
        return Path.cwd() == directory
    except OSError:  # it is gone
        return False


def _future_owner(runner: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the user and group that twistd makes us, once our ports are open."""
    user: int | None = runner.get("uid")
    group: int | None = runner.get("gid")
    if os.geteuid() != 0:
        return None
    if user is None:
        return None if group is None else (0, group)
    if group is None:
        try:
            group = pwd.getpwuid(user).pw_gid
        except KeyError:
            _end(EX_FAILURE, f"tcpd: --uid {user}: there is no such user; add --gid")
    return user, group


def _twist_was_told(runner: Mapping[str, Any]) -> bool:
    """Return whether twist's own log flags were used, as far as it lets that be seen."""
    if "logFormat" not in runner:
        return False  # it is twistd
    stream = runner["logFile"]
    usual = "text" if stream.isatty() else "json"
    return bool(
        stream is not sys.stdout
        or runner["logLevel"] is not LogLevel.info
        or runner["logFormat"] != usual
    )


def makeService(options: Options) -> Daemon:
    """Return the service that twistd runs.

    Args:
        options: the parsed command line.
    """
    return _build(options, tuple(_notes(options)), heed_signals=True)


def _build(options: Options, notes: tuple[str, ...] = (), *, heed_signals: bool = False) -> Daemon:
    """Build everything, open nothing; what can't be built ends the process."""
    if options.configuration is None:
        raise RuntimeError("the options have not been parsed")
    try:
        return Daemon(
            options.configuration,
            _reactor(),
            ServiceManager(os.environ),
            log=options.log,
            notes=notes,
            read_again=options.read_again,
            from_file=options["config"] is not None,
            heed_signals=heed_signals,
            pid_file=options.pid_file,
            owner=options.owner,
        )
    except TcpdError as error:
        _end(EX_USAGE if options["config"] is None else EX_CONFIG, f"tcpd: {error}")


def _reactor() -> Any:
    """Return the reactor: whichever was chosen, or ours."""
    if "twisted.internet.reactor" not in sys.modules:
        from tcpd.net.reactor import install

        install()
    from twisted.internet import reactor

    return reactor


def _notes(options: Options) -> Iterator[str]:
    """Give what a newcomer should know about the command line's choices."""
    flags = options.flags
    on_loopback = not flags.listen and flags.interface is None
    if on_loopback and (flags.port is not None or options["config"] is None):
        yield ("only this machine can connect; --interface 0.0.0.0 opens the port to every network")
    if options.left_behind:
        yield f"process {options.left_behind} has left its pid file behind, which is ours now"
    for plugin in list_plugins():
        if plugin.problem:
            yield f"the plugin {plugin.name!r} ({plugin.source}) can't be used: {plugin.problem}"


def _print_handlers() -> int:
    """Print the handlers; return 1 if one of them fails to load."""
    handlers = sorted(list_handlers(), key=lambda each: each.name)
    width = max(len(each.name) for each in handlers)
    for each in handlers:
        source = "" if each.source == "built in" else f" ({each.source})"
        if not each.problem:
            print(f"{each.name:{width}}  {each.summary}{source}")
    broken = [each for each in handlers if each.problem]
    for each in broken:
        print(f"{each.name}: broken ({each.source}): {each.problem}", file=sys.stderr)
    return EX_FAILURE if broken else 0


def _explained(problem: str, known: list[str]) -> str:
    """Return getopt's complaint, with the flag that may have been meant."""
    word = problem.removeprefix("option ").removesuffix(" not recognized")
    hint = did_you_mean(word, ["--" + name.rstrip("=") for name in known])
    return f"{problem}; {hint or 'twistd tcpd --help lists the options'}"


def _end(status: int, message: str) -> NoReturn:
    """End the process with a message."""
    print(message, file=sys.stderr)
    sys.exit(status)
