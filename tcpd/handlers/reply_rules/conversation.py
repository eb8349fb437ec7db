"""One session's conversation: an input comes in, actions come out.

It knows no transport and no timer. Whoever performs the actions gives no further input until they
are all performed, delays included; so replies keep the order of what they answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from tcpd.framing import Framing
from tcpd.handlers.reply_rules.matching import Matcher
from tcpd.handlers.reply_rules.template import Context, Facts, Template

FLUSH_TIME = 0.01
"""Seconds for a reply to leave before a reset, which throws away whatever hasn't."""


class Ending(Enum):
    """How a conversation ends."""

    CLOSE = "close"
    HALF_CLOSE = "half_close"
    RESET = "reset"


Action = bytes | float | Ending
"""What is to be done: bytes to send, seconds to wait, or how to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A response, ready to be used.

    Attributes:
        frames: what to send.
        constant: the same with its framing, if there is no hole in it.
        delay: seconds to wait before that.
        goto: the state afterwards, if it is another.
        ending: how the conversation ends, if it does.
        prompts: whether a prompt follows.
        talk: whether it only says something: nothing of what follows `constant` here.
        always: the actions, if they are always the same.
    """

    frames: tuple[Template, ...] = ()
    constant: bytes | None = b""
    delay: float = 0.0
    goto: str | None = None
    ending: Ending | None = None
    prompts: bool = False
    talk: bool = field(init=False)
    always: tuple[Action, ...] | None = field(init=False)

    def __post_init__(self) -> None:
        talk = not (self.delay or self.goto is not None or self.ending or self.prompts)
        always = (self.constant,) if talk and self.constant else None
        object.__setattr__(self, "talk", talk)
        object.__setattr__(self, "always", always)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyRule:
    """A rule, ready to be used.

    Attributes:
        index: its place among the rules.
        matcher: tells whether an input matches.
        counts: whether its matches are counted at all.
        after: how many matches to let pass first.
        last: the number of the last match that is answered; None for no end.
        per_session: whether each session counts for itself.
        plan: what to do.
    """

    index: int
    matcher: Matcher
    counts: bool
    after: int
    last: int | None
    per_session: bool
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """All that a conversation follows.

    Attributes:
        framing: how replies are framed.
        first_state: the state that a session begins in.
        greeting: what to do when it begins.
        default: what to do with an input that no rule matches; None if nothing was said about it.
        too_long: what to do about a frame that is too long; it ends the conversation.
        rules: the rules that concern each state, in order.
        prompts: the prompt of each state; that of "" is for states without one.
        uses_facts: whether a template needs to know addresses and the like.
    """

    framing: Framing
    first_state: str
    greeting: Plan
    default: Plan | None
    too_long: Plan
    rules: dict[str, tuple[ReadyRule, ...]]
    prompts: dict[str, Template]
    uses_facts: bool


class Conversation:
    """One session's.

    Args:
        script: what it follows.
        counts: how often each rule has matched in all sessions together; shared by them.
        clock: gives the time in seconds since 1970.
        facts: what templates may say about the session.

    Attributes:
        state: the session's state.
        received: how many inputs it has had.
    """

    __slots__ = (
        "_clock", "_counts", "_encode", "_kept", "_own", "facts", "received", "script",
        "state",
    )  # fmt: skip

    def __init__(
        self,
        script: Script,
        counts: dict[int, int],
        clock: Callable[[], float],
        facts: Facts | None = None,
    ) -> None:
        self.script = script
        self.state = script.first_state
        self.received = 0
        self.facts = facts or Facts()
        self._clock = clock
        self._encode = script.framing.encode
        self._kept: Context | None = None
        self._counts = counts
        self._own: dict[int, int] | None = None

    def start(self) -> Sequence[Action]:
        """Return what to do when the session begins."""
        return self._follow(self.script.greeting, b"", (), 0)

    def answer(self, data: bytes) -> Sequence[Action] | None:
        """Return what to do about an input; None if neither a rule nor a default speaks of it.

        Raises:
            FramingError: the reply has become something that the framing can't express.
        """
        self.received += 1
        for rule in self.script.rules[self.state]:
            captures = rule.matcher(data)
            if captures is None:
                continue
            matched = self._count(rule) if rule.counts else 0
            if rule.after and matched <= rule.after:
                continue
            if rule.last is not None and matched > rule.last:
                continue
            return self._follow(rule.plan, data, captures, matched)
        if self.script.default is not None:
            return self._follow(self.script.default, data, (), 0)
        return None

    def too_long(self) -> Sequence[Action]:
        """Return what to do about a frame that is too long, or can't be at all."""
        return self._follow(self.script.too_long, b"", (), 0)

    def _count(self, rule: ReadyRule) -> int:
        counts = self._counts
        if rule.per_session:
            if self._own is None:
                self._own = {}
            counts = self._own
        counts[rule.index] = matched = counts.get(rule.index, 0) + 1
        return matched

    def _follow(
        self, plan: Plan, data: bytes, captures: tuple[bytes, ...], matched: int
    ) -> Sequence[Action]:
        if plan.always is not None:
            return plan.always
        said = plan.constant
        if said is None:
            context = self._context()
            context.input = data
            context.captures = captures
            context.matched = matched
            encode = self._encode
            said = b"".join([encode(frame.render(context)) for frame in plan.frames])
            context.input = b""  # an idle session keeps nothing that was said to it
            context.captures = ()
            if plan.talk:
                return (said,) if said else ()
        if plan.goto is not None:
            self.state = plan.goto
        if plan.prompts:
            said += self._prompt()
        actions: list[Action] = []
        if plan.delay:
            actions.append(plan.delay)
        if said:
            actions.append(said)
        if plan.ending is not None:
            if said and plan.ending is Ending.RESET:
                actions.append(FLUSH_TIME)
            actions.append(plan.ending)
        return actions

    def _prompt(self) -> bytes:
        prompts = self.script.prompts
        prompt = prompts.get(self.state) or prompts.get("")
        if prompt is None:
            return b""
        said = prompt.constant
        return prompt.render(self._context()) if said is None else said

    def _context(self) -> Context:
        context = self._kept
        if context is None:
            context = self._kept = Context(self.facts, self._clock)
        context.state = self.state
        context.received = self.received
        return context
