"""Rules and options become a script that conversations follow, or a list of what is wrong.

What is found here concerns several rules: states that nothing leads to or that no rule knows, rules
that can never be reached, replies that the framing can't express.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tcpd.errors import FieldError, did_you_mean
from tcpd.framing import Fixed, Framing, FramingError, LengthPrefixed
from tcpd.handlers.reply_rules.conversation import Ending, Plan, ReadyRule, Script
from tcpd.handlers.reply_rules.matching import matcher_of
from tcpd.handlers.reply_rules.model import Path, Response, Rule
from tcpd.handlers.reply_rules.template import (
    INPUT_FIELDS,
    SESSION_FIELDS,
    Field,
    Template,
    TemplateError,
    text_template,
)

# What the states that exist, and those that something leads to, follow from.
_STATES = (("rules", None, "state"), ("first_state",))
_GOALS = (("rules", None, "goto"), ("default", "goto"), ("greeting", "goto"), ("first_state",))

Said = str | Response | None
"""A response, of which a text is what to reply."""

_FACTS = ("session.id", "listener", "peer.", "local.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a script is made of: the options of the handler.

    Attributes:
        framing: how replies are framed.
        rules: the rules, in order.
        greeting: said when a session begins.
        default: the response to what no rule matches.
        too_long: the response to a frame that is too long.
        prompt: shown after the greeting and after each reply; or that of each state.
        first_state: the state that a session begins in.
    """

    framing: Framing
    rules: Sequence[Rule]
    greeting: Said
    default: Said
    too_long: Said
    prompt: str | Mapping[str, str]
    first_state: str


def compile_script(source: Source) -> tuple[Script, list[FieldError]]:
    """Return the script, and what is wrong with it."""
    compiler = _Compiler(source)
    return compiler.script(), compiler.errors


class _Compiler:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.errors: list[FieldError] = []
        self.templates: list[Template] = []
        self.states = {source.first_state}.union(*(rule.states for rule in source.rules))
        self.goals: set[str] = set()

    def script(self) -> Script:
        source = self.source
        answering = SESSION_FIELDS | INPUT_FIELDS
        greeting = self.said(source.greeting, ("greeting",), SESSION_FIELDS, prompts=True)
        default = self.said(source.default, ("default",), answering)
        too_long = self.said(source.too_long, ("too_long",), SESSION_FIELDS)
        rules = [self.rule(index, rule) for index, rule in enumerate(source.rules)]
        self.check_states()
        self.check_reach()
        prompts = self.prompts()
        return Script(
            framing=source.framing,
            first_state=source.first_state,
            greeting=greeting,
            default=None if source.default is None else default,
            too_long=self.ended(too_long),
            rules={
                state: tuple(
                    ready
                    for ready, rule in zip(rules, source.rules, strict=True)
                    if ready is not None and (not rule.states or state in rule.states)
                )
                for state in self.states
            },
            prompts=prompts,
            uses_facts=any(
                name.startswith(_FACTS) for each in self.templates for name in each.names
            ),
        )

    def said(
        self, said: Said, path: Path, fields: Mapping[str, Field], *, prompts: bool = False
    ) -> Plan:
        """Return the plan of an option that is a response, or a text to reply."""
        short = isinstance(said, str)
        response = Response(reply=said) if isinstance(said, str) else said or Response()
        return self.plan(response, path, fields, short=short, prompts=prompts)

    def rule(self, index: int, rule: Rule) -> ReadyRule | None:
        path: Path = ("rules", index)
        try:
            fields, match = rule.fields(), rule.matching()
            matcher_of(match)
        except FieldError:  # the rule has complained of its regex itself
            self.goal(rule, path)
            return None
        plan = self.plan(rule, path, fields)
        after = rule.after or 0
        names = {name for frame in plan.frames for name in frame.names}
        captures = match.captures().keys() if match is not None else set()
        return ReadyRule(
            index=index,
            matcher=matcher_of(match, capturing=not names.isdisjoint(captures)),
            counts=bool(after or rule.times or "rule.count" in names),
            after=after,
            last=after + rule.times if rule.times else None,
            per_session=rule.scope == "session",
            plan=plan,
        )

    def plan(
        self,
        response: Response,
        path: Path,
        fields: Mapping[str, Field],
        *,
        short: bool = False,
        prompts: bool = False,
    ) -> Plan:
        """Return the plan of a response, as far as it is right.

        Args:
            response: what to do.
            path: where it stands.
            fields: what its templates may use.
            short: whether it stands there as a text, so that there is no key `reply`.
            prompts: whether a prompt follows even if nothing is said.
        """
        self.goal(response, path)
        templates, errors = response.templates(fields)
        for error in errors:
            where = path if short else path + error.path
            self.errors.append(FieldError(where, error.problem, rests_on=[(*path, "match")]))
        self.templates += [template for _, template in templates]
        constant: bytes | None = b""
        for place, template in templates:
            if template.constant is None:
                constant = None
                continue
            try:
                framed = self.source.framing.encode(template.constant)
            except FramingError as error:
                where = path if short else path + place
                problem = f"can't be sent: {error}"
                self.errors.append(FieldError(where, problem, rests_on=[("framing",)]))
                continue
            constant = None if constant is None else constant + framed
        ending = Ending(response.ending) if response.ending else None
        return Plan(
            frames=tuple(template for _, template in templates),
            constant=constant,
            delay=float(response.delay),
            goto=response.goto,
            ending=ending,
            prompts=bool(self.source.prompt)
            and ending is None
            and (prompts or bool(templates) or response.goto is not None),
        )

    def goal(self, response: Response, path: Path) -> None:
        """Note the state that a response leads to."""
        state = response.goto
        if state is not None:
            self.goals.add(state)
            self.check_known(state, (*path, "goto"))

    def check_known(self, state: str, path: Path) -> None:
        """Find a state that no rule is for."""
        if state not in self.states:
            known = "known here: " + ", ".join(sorted(self.states))
            hint = did_you_mean(state, self.states) or known
            problem = f"no rule is for the state {state!r}"
            self.errors.append(FieldError(path, problem, hint, _STATES))

    def ended(self, plan: Plan) -> Plan:
        """Return the plan for a frame that is too long: whatever it says, the end follows."""
        if plan.goto is not None:
            self.errors.append(
                FieldError(("too_long", "goto"), "leads nowhere, since the connection is closed")
            )
        if plan.ending is Ending.HALF_CLOSE:
            self.errors.append(
                FieldError(
                    ("too_long", "half_close"),
                    "nothing can be read any more, since nobody knows where a frame would begin",
                    "write 'close' or 'reset'",
                )
            )
        return Plan(
            frames=plan.frames,
            constant=plan.constant,
            delay=plan.delay,
            ending=plan.ending or Ending.CLOSE,
        )

    def check_states(self) -> None:
        """Find the rules for states that nothing leads to."""
        reachable = self.goals | {self.source.first_state}
        for index, rule in enumerate(self.source.rules):
            for state in rule.states:
                if state not in reachable:
                    hint = did_you_mean(state, reachable) or (
                        f"a session begins in {self.source.first_state!r}"
                    )
                    problem = f"no 'goto' leads to the state {state!r}"
                    path = ("rules", index, "state")
                    self.errors.append(FieldError(path, problem, hint, _GOALS))

    def check_reach(self) -> None:
        """Find the rules that another takes everything from."""
        for index, rule in enumerate(self.source.rules):
            for earlier in range(index):
                above = self.source.rules[earlier]
                greedy = above.match is None and above.times is None and above.after is None
                covers = not above.states or (rule.states and set(rule.states) <= set(above.states))
                if greedy and covers:
                    problem = f"is never reached, since rules[{earlier}] matches everything"
                    hint = "put it above that one"
                    keys = ("match", "times", "after", "state")
                    rests_on = [("rules", earlier, key) for key in keys]
                    rests_on.append(("rules", index, "state"))
                    self.errors.append(FieldError(("rules", index), problem, hint, rests_on))
                    break

    def prompts(self) -> dict[str, Template]:
        """Return the prompt of each state, and that of all others as the state ""."""
        prompt = self.source.prompt
        if not prompt:
            return {}
        if isinstance(self.source.framing, LengthPrefixed | Fixed):
            problem = "has no place between frames of a known length"
            hint = "leave it out"
            self.errors.append(FieldError(("prompt",), problem, hint, [("framing",)]))
        each = {"": prompt} if isinstance(prompt, str) else prompt
        templates = {}
        for state, text in each.items():
            path: Path = ("prompt",) if isinstance(prompt, str) else ("prompt", state)
            if state:
                self.check_known(state, path)
            try:
                templates[state] = text_template(text, SESSION_FIELDS)
            except TemplateError as error:
                self.errors += (FieldError(path, problem) for problem in error.problems)
        self.templates += templates.values()
        return templates
