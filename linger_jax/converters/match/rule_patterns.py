"""Regular expressions of rules, which come from files: those that Python would try for ever are refused.

A matcher that goes back tries the ways in which a pattern can fit the text one after the other: ``(a|aa)+b`` has
billions over thirty letters. The ways are counted here, from above, before anything is matched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from linger_jax.errors import ConversionError

_LONGEST_PATTERN = 1000
_MOST_STEPS = 10**9
"""Of all names together; a true count is far below the bound."""
_END = ""
"""Stands among characters for the end of the name."""
_ANY_CASE = re.compile(r"\(\?[a-zA-Z]*i")

Characters = frozenset[str]


def rule_pattern(pattern: str, names: Collection[str], where: str) -> re.Pattern[str]:
    """A pattern that is matched with whole names in bounded time.

    Args:
      pattern: regular expression.
      names: that it will be matched with.
      where: the file, for messages.

    Raises:
      ConversionError: it is no regular expression, or one that might take for ever.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise ConversionError(f"{where}: a pattern has {len(pattern):,} characters; at most {_LONGEST_PATTERN}")
    try:
        compiled, parsed = re.compile(pattern), _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConversionError(f"{where}: {pattern!r} is no regular expression: {error}") from error
    longest = max(map(len, names), default=0)
    ways = _Ways(frozenset("".join(names)), longest, any_case=_ANY_CASE.search(pattern) is not None)
    count = ways.of(list(parsed), frozenset({_END}))
    if count * max(longest, 1) * max(len(names), 1) > _MOST_STEPS:
        raise ConversionError(
            f"{where}: {pattern!r} can fit a name in too many ways, so that matching might not end; write repetitions "
            rf"so that the next character ends them (\d+ before \., [^.]+ instead of .*), and none inside another"
        )
    return compiled


class _Ways:
    """Bounds the number of ways.

    Args:
      alphabet: characters that names have.
      longest: length of the longest name.
      any_case: small and capital letters are the same, so that what comes next tells nothing.
    """

    def __init__(self, alphabet: Characters, longest: int, *, any_case: bool) -> None:
        self._alphabet, self._longest, self._any_case = alphabet, longest, any_case

    def of(self, items: Sequence[Any], follow: Characters) -> int:
        """Ways from one start.

        Args:
          items: of the parsed pattern, one after the other.
          follow: what may stand behind them.
        """
        ways = 1
        for place, (kind, argument) in enumerate(items):
            ways *= self._of_item(kind, argument, self._first(items[place + 1 :], follow))
            if ways > _MOST_STEPS:
                break
        return ways

    def _of_item(self, kind: Any, argument: Any, follow: Characters) -> int:
        if kind is op.SUBPATTERN:
            return self.of(argument[3], follow)
        if kind is op.BRANCH:
            return sum(self.of(branch, follow) for branch in argument[1])
        if kind is op.ATOMIC_GROUP:
            return self.of(argument, self._anything)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            return self.of(argument[1], self._anything)
        if kind is op.GROUPREF_EXISTS:
            return sum(self.of(branch or [], follow) for branch in argument[1:])
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            least, most, repeated = argument
            return self._of_repeat(least, most, repeated, follow)
        return 1

    def _of_repeat(self, least: int, most: int, repeated: Sequence[Any], follow: Characters) -> int:
        begins = self._first(repeated, frozenset())
        inner = self.of(repeated, begins | follow)
        times = min(most, self._longest) - min(least, self._longest)
        if inner > 1:
            return min(inner, _MOST_STEPS) ** min(times + min(least, self._longest), 64)
        # One way through the inner: where the next character tells whether there is another round, there is no choice.
        return times + 1 if begins & follow or self._may_be_empty(repeated) else 1

    @property
    def _anything(self) -> Characters:
        return self._alphabet | {_END}

    def _first(self, items: Sequence[Any], follow: Characters) -> Characters:
        """Characters that may come next, of the items or behind them."""
        found: Characters = frozenset()
        for item in items:
            found |= self._begins(*item)
            if not self._may_be_empty([item]):
                return found
        return found | follow

    def _begins(self, kind: Any, argument: Any) -> Characters:
        if self._any_case and kind is not op.AT:
            return self._anything
        if kind is op.ANY:
            return self._alphabet
        if kind is op.LITERAL:
            return frozenset({chr(argument)})
        if kind is op.NOT_LITERAL:
            return self._alphabet - {chr(argument)}
        if kind is op.IN:
            return self._of_class(argument)
        if kind is op.SUBPATTERN:
            return self._first(argument[3], frozenset())
        if kind is op.BRANCH:
            return frozenset().union(*(self._first(branch, frozenset()) for branch in argument[1]))
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            return self._first(argument[2], frozenset())
        return frozenset() if kind is op.AT else self._anything

    def _of_class(self, entries: Sequence[Any]) -> Characters:
        found: set[str] = set()
        for kind, argument in entries:
            if kind is op.LITERAL:
                found.add(chr(argument))
            elif kind is op.RANGE:
                found |= {c for c in self._alphabet if argument[0] <= ord(c) <= argument[1]}
            elif kind is op.CATEGORY:
                found |= {c for c in self._alphabet if _CATEGORIES[argument](c)}
        negated = any(kind is op.NEGATE for kind, _ in entries)
        return self._alphabet - found if negated else frozenset(found)

    def _may_be_empty(self, items: Sequence[Any]) -> bool:
        return not any(_width(kind, argument) for kind, argument in items)


def _width(kind: Any, argument: Any) -> bool:
    """Whether an item takes at least one character."""
    if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
        return True
    if kind is op.SUBPATTERN:
        return any(_width(*item) for item in argument[3])
    if kind is op.BRANCH:
        return all(any(_width(*item) for item in branch) for branch in argument[1])
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return argument[0] > 0 and any(_width(*item) for item in argument[2])
    return False


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_CATEGORIES = {
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_NOT_DIGIT: lambda c: not c.isdecimal(),
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    op.CATEGORY_WORD: _is_word,
    op.CATEGORY_NOT_WORD: lambda c: not _is_word(c),
}
