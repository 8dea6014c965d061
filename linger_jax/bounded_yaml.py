"""YAML of others: plain values only, as deep and as large as people write them.

A few hundred bytes of aliases stand for billions of entries, and an alias may stand inside what it names. So entries
are counted as they are after every alias is written out, while the file is parsed.
"""

from __future__ import annotations

from typing import Any

import yaml

MOST_BYTES = 1 << 20
"""Of a YAML file."""
_MOST_ENTRIES = 100_000
_DEEPEST = 64
# Names and patterns are short, and messages repeat them.
_LONGEST_TEXT = 1000
# So are numbers and dates; the parser takes a number in base 60 apart in quadratic time.
_LONGEST_NUMBER = 100
_TEXT = "tag:yaml.org,2002:str"


class YamlDocument:
    """One document.

    Attributes:
      node: its nodes, with their places in the text; None for an empty document.

    Args:
      text: the document.

    Raises:
      yaml.YAMLError: it is no YAML, or larger or deeper than allowed.
    """

    def __init__(self, text: str) -> None:
        self._loader = _BoundedLoader(text)
        self.node: yaml.Node | None = self._loader.get_single_node()

    def value(self) -> Any:
        """Its plain values; asked for once, since merged sections change the nodes."""
        return None if self.node is None else self._loader.construct_document(self.node)


class _BoundedLoader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._entries = self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """One node; ``_entries`` grows by what it stands for."""
        mark, is_alias = self.peek_event().start_mark, self.check_event(yaml.AliasEvent)
        before = self._entries
        self._entries += 1
        self._depth += 1
        self._limit(self._depth, _DEEPEST, "is nested more than {:,} deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias:
            if id(node) not in self._sizes:
                raise yaml.composer.ComposerError(None, None, "an alias stands inside what it refers to", mark)
            self._entries += self._sizes[id(node)] - 1
        else:
            self._sizes[id(node)] = self._entries - before
        self._limit(self._entries, _MOST_ENTRIES, "holds more than {:,} entries, aliases written out", mark)
        if isinstance(node, yaml.ScalarNode):
            longest = _LONGEST_TEXT if node.tag == _TEXT else _LONGEST_NUMBER
            self._limit(len(node.value), longest, "a value of more than {:,} characters", mark)
        return node

    @staticmethod
    def _limit(number: int, most: int, problem: str, mark: Any) -> None:
        if number > most:
            raise yaml.composer.ComposerError(None, None, problem.format(most), mark)
