"""`reply`: answers by rules, a TCP test double without code.

The rules themselves are read, checked and followed in `reply_rules`; here are the options. See
`docs/reply.md` for what rules can say.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from zope.interface import implementer

from tcpd.errors import ConfigErrors, FieldError, raise_all
from tcpd.fields import Place
from tcpd.framing import MAX_SIZE, Fixed, FramingOption, MaxSize, framing_of
from tcpd.handlers.reply_rules.conversation import Conversation, Script
from tcpd.handlers.reply_rules.loading import RulesRead, read_rules
from tcpd.handlers.reply_rules.model import Response, Rule
from tcpd.handlers.reply_rules.protocol import ReplyProtocol
from tcpd.handlers.reply_rules.script import Source, compile_script
from tcpd.interfaces import IReadsFiles, ISessionFactory
from tcpd.session import Session
from tcpd.toml_file import TomlFile
from tcpd.units import ByteSize


@implementer(ISessionFactory, IReadsFiles)
@dataclass
class Reply(Factory[ReplyProtocol]):
    """Answer what a peer sends by rules: a TCP test double without code."""

    rules: tuple[Rule, ...] | Path = ()
    """The rules, in order; or the file that they stand in."""
    default: str | Response | None = None
    """The reply to what no rule matches; without it, silence."""
    greeting: str | Response | None = None
    """What is said when a connection is made."""
    prompt: str | dict[str, str] = ""
    """What follows the greeting and every reply, without a line end; or that of each state."""
    framing: FramingOption = "line"
    """How messages are told apart: 'line', 'crlf', 'raw', or a table."""
    max_size: MaxSize = ByteSize(MAX_SIZE)  # noqa: RUF009  (a number)
    """The most bytes that a message may have."""
    too_long: str | Response | None = None
    """What is said about a longer one before the connection is closed."""
    first_state: str = "start"
    """The state that a session begins in."""

    noisy = False

    def __post_init__(self) -> None:
        # Not options, but what tests replace: the clock of delays where there is no session (the
        # transport's reactor if it is None), and that of {{time}}, in seconds since 1970.
        self.clock: IReactorTime | None = None
        self.wall_clock: Callable[[], float] = time.time
        self._script = self._compile()
        self._counts: dict[int, int] = {}
        self._names = itertools.count(1)

    def buildProtocol(self, addr: IAddress | None) -> ReplyProtocol:
        """Return the protocol of one connection outside of tcpd."""
        return self._protocol(self.clock, name=str(next(self._names)))

    def buildSession(self, session: Session) -> ReplyProtocol:
        """Return the protocol of one session."""
        return self._protocol(session.clock, session=session)

    def _protocol(
        self, clock: IReactorTime | None, *, session: Session | None = None, name: str = ""
    ) -> ReplyProtocol:
        return ReplyProtocol(
            Conversation(self._script, self._counts, self.wall_clock),
            framing=self._script.framing,
            max_size=self.max_size,
            clock=clock,
            session=session,
            name=name,
        )

    def _compile(self) -> Script:
        rules = self.rules
        read = read_rules(rules) if isinstance(rules, Path) else RulesRead(rules=rules, unknown=())
        self.what_was_read = read.rules
        if not rules and self.default is None and self.greeting is None:
            hint = "give it 'rules', a 'default' or a 'greeting', as in default = \"Hello!\""
            raise FieldError((), "'reply' would never say anything", hint)
        try:
            framing = framing_of(self.framing)
        except ValueError:  # a table with mistakes, which it has told itself
            framing = framing_of("line")
        script, found = compile_script(
            Source(
                framing=framing,
                rules=read.rules,
                greeting=self.greeting,
                default=self.default,
                too_long=self.too_long,
                prompt=self.prompt,
                first_state=self.first_state,
            )
        )
        errors = [*read.problems]
        errors += (
            _located(error, read.file) for error in found if not error.is_doubtful(read.unknown)
        )
        if isinstance(framing, Fixed) and self.max_size < framing.size:
            problem = f"is less than the {framing.size} bytes that every frame has"
            errors.append(FieldError(("max_size",), problem, rests_on=[("framing",)]))
        raise_all(errors)
        return script


def _located(error: FieldError, file: TomlFile | None) -> Exception:
    """Return an error, at its place in the rules file if it stands there."""
    if file is None or error.path[:1] != ("rules",):
        return error
    return ConfigErrors([Place(file, error.path).error(error.problem, error.hint)])
