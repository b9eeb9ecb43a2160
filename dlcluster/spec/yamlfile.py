"""Safe YAML: one document of plain values with line numbers and limits, everything else in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from dlcluster.spec.document import MAX_DEPTH, MAX_VALUES, BrokenError, Document, Place, Problem, show_text
from dlcluster.spec.rules import Path
from dlcluster.spec.scalars import Trap, check_text, read_plain

_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


@dataclass(slots=True)
class _Node:
    """A value as written, before aliases are written out."""

    line: int
    kind: str  # scalar, list, mapping
    value: Any = None
    text: str | None = None
    trap: Trap | None = None
    entries: list[_Entry] = field(default_factory=list)
    size: int = 1
    height: int = 0
    open: bool = False
    anchor: str | None = None
    key: _Node | None = None


@dataclass(slots=True)
class _Entry:
    key: _Node | None
    node: _Node
    line: int


def read_yaml(text: str, source: str) -> Document:
    """Read one YAML document.

    Args:
        text: The file.
        source: What to call it; places are ``source:line``.

    Raises:
        BrokenError: If it cannot be read to its end.
    """
    root = _compose(text)
    document = Document(None)
    _expand(root, root.line, (), source, document)
    return document


def _compose(text: str) -> _Node:
    root: _Node | None = None
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    documents = total = 0
    for event in _events(text):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise BrokenError(line, "a second document begins here: a job file holds one")
        elif isinstance(event, yaml.CollectionEndEvent):
            node = stack.pop()
            node.open = False
            if stack:
                _add(stack[-1], node, node.line)
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            node = _node(event, line, anchors)
            depth = len(stack) + node.height
            if node.open:
                stack.append(node)
            elif stack:
                _add(stack[-1], node, line)
            if depth > MAX_DEPTH:
                raise BrokenError(line, f"is nested more than {MAX_DEPTH} deep")
            if total > MAX_VALUES or (stack and stack[-1].size > MAX_VALUES):
                raise BrokenError(line, f"holds more than {MAX_VALUES:,} values, aliases written out")
            root = root or node
    if root is None or (root.kind == "scalar" and root.text == ""):
        raise BrokenError(0, "the file is empty")
    return root


def _node(event: yaml.NodeEvent, line: int, anchors: dict[str, _Node]) -> _Node:
    if isinstance(event, yaml.AliasEvent):
        anchor = str(event.anchor)
        name = show_text(anchor).strip('"')
        if anchor not in anchors:
            hint = f"no &{name} comes before it; put the value in quotes if * is part of it"
            raise BrokenError(line, f"nothing is called *{name}: {hint}")
        if anchors[anchor].open:
            raise BrokenError(line, f"*{name} would contain itself")
        return anchors[anchor]
    if isinstance(event, yaml.ScalarEvent):
        # JSON is YAML too, and writes a character beyond U+FFFF as two halves.
        whole = _HALVES.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), event.value)
        node = _Node(line, "scalar", whole)
        if event.style is None and event.tag is None:
            node.text = event.value
            node.value, node.trap = read_plain(event.value)
        else:
            node.trap = check_text(whole)
    else:
        is_list = isinstance(event, yaml.SequenceStartEvent)
        node = _Node(line, "list" if is_list else "mapping", open=True, height=1)
    tag = getattr(event, "tag", None)
    if tag is not None:
        node.trap = Trap("tag", str(tag).replace("tag:yaml.org,2002:", "!!"))
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _add(parent: _Node, node: _Node, line: int) -> None:
    parent.size += node.size
    parent.height = max(parent.height, node.height + 1)
    if parent.kind == "list":
        parent.entries.append(_Entry(None, node, line))
    elif parent.key is None:
        if node.kind != "scalar":
            raise BrokenError(line, f"a {node.kind} cannot be a key: keys are plain text")
        # The line of a key that is an alias is the alias's own.
        parent.key = _Node(line, "scalar", node.value, node.text, node.trap)
    else:
        # A block value may begin on the next line; its key's line is where a user looks for it.
        entry_line = line if node.kind == "scalar" else parent.key.line
        parent.entries.append(_Entry(parent.key, node, entry_line))
        parent.key = None


def _expand(node: _Node, line: int, path: Path, source: str, document: Document) -> Any:
    """The node's value; fills in the document (at most 64 deep, so recursion is safe)."""
    document.places[path] = Place(f"{source}:{line}", line)
    if node.trap is not None:
        document.traps[path] = node.trap
    value: Any
    if node.kind == "scalar":
        value = node.value
        if node.text is not None:
            document.texts[path] = node.text
    elif node.kind == "list":
        value = [
            _expand(entry.node, entry.line, (*path, index), source, document)
            for index, entry in enumerate(node.entries)
        ]
    else:
        value = _expand_mapping(node, path, source, document)
    if not path:
        document.value = value
    return value


def _expand_mapping(node: _Node, path: Path, source: str, document: Document) -> dict[str, Any]:
    value: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for entry in node.entries:
        assert entry.key is not None  # noqa: S101 - set by _add for every mapping's entry
        key, trap = _key(entry.key)
        below = (*path, key)
        if key in lines:
            place = Place(f"{source}:{entry.key.line}", entry.key.line)
            document.problems.append(Problem(place, below, _twice(lines[key], entry.key.line)))
            continue
        lines[key] = entry.key.line
        value[key] = _expand(entry.node, entry.line, below, source, document)
        if trap is not None:
            document.traps[below] = trap
            if trap.kind == "merge":
                del value[key]
    return value


def _key(key: _Node) -> tuple[str, Trap | None]:
    if key.text is None:
        return key.value, key.trap
    if key.text == "<<":
        return key.text, Trap("merge", key.text)
    if key.trap is not None or not isinstance(key.value, str):
        return key.text, Trap("key", key.text)
    return key.text, None


def _twice(first: int, second: int) -> str:
    lines = "on this line" if first == second else f"on line {first} and on line {second}"
    return f"is given twice, {lines}: keep one"


def _events(text: str) -> Iterator[yaml.Event]:
    """PyYAML's events, with every way it can fail as one error in words."""
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[:1])
        name = "a NUL byte" if code == 0 else f"the control character U+{code:04X}"
        raise BrokenError(line, f"holds {name}: a job file is plain text") from None
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text) from None
    except (yaml.YAMLError, ValueError, OverflowError, IndexError) as error:
        # PyYAML lets Python's own errors through, for "\UFFFFFFFF" or a %YAML with a huge version.
        raise BrokenError(0, "is not valid YAML: an escape or a directive in it makes no sense") from error


_WORDS = (
    ("mapping values are not allowed", "a colon where none can be: is the line before it indented otherwise, "
     "or does the text need quotes?"),
    ("could not find expected ':'", "a key without its colon: write key: value"),
    ("cannot start any token", "a character that no value can begin with: put the text in quotes"),
    ("expected <block end>", "does not line up with the lines above it: check the indentation"),
    ("expected ',' or ']'", "a list in [ ] that is not closed, or lacks a comma"),
    ("expected ',' or '}'", "a mapping in { } that is not closed, or lacks a comma"),
    ("found unexpected end of stream", "a quote that is never closed"),
    ("found unexpected document separator", "a quote that is never closed"),
    ("unknown escape character", "an unknown escape with \\: use single quotes if \\ is part of the text"),
    ("escape sequence of", "an escape with \\ that is not complete: use single quotes if \\ is part of it"),
    ("sequence entries are not allowed", "a list's dash where none can be: begin it on a line of its own"),
    ("expected the node content", "a value is missing, or a bracket is not closed"),
    ("mapping keys are not allowed", "a ? where none can be"),
    ("found undefined tag handle", "an unknown tag with !: put the text in quotes"),
    ("undefined tag handle", "an unknown tag with !: put the text in quotes"),
    ("expected '<document start>'", "something after the end of the document, or values without keys"),
    ("duplicate anchor", "the same & name twice"),
    ("duplicate", "the same & name or directive twice"),
    ("incompatible YAML document", "an unknown YAML version: leave out the %YAML line"),
    ("expected chomping or indentation", "a text after | or >: begin it on the next line"),
    ("expected a comment or a line break", "a text after | or >: begin it on the next line"),
    ("indentation indicator", "a text after | or >: begin it on the next line"),
    ("ing a tag", "a word that begins with !: put the text in quotes"),
    ("scanning a directive", "a line that begins with %: put the text in quotes"),
    ("expected alphabetic or numeric", "a & or * without a name: put the text in quotes"),
)  # fmt: skip


def _syntax(error: yaml.MarkedYAMLError, text: str) -> BrokenError:
    mark = error.problem_mark or error.context_mark
    problem = f"{error.problem or ''} {error.context or ''}"
    if mark is None:
        return BrokenError(0, f"is not valid YAML: {problem.strip()}")
    begins = re.search(r"[^\n]*\Z", text[: mark.index])
    before = begins.group() if begins else ""
    if "\t" in before[: len(before) - len(before.lstrip())] or text[mark.index : mark.index + 1] == "\t":
        return BrokenError(mark.line + 1, "a tab where the indentation is: indent with spaces")
    known = next((words for part, words in _WORDS if part in problem), problem.strip())
    message = f"is not valid YAML at column {mark.column + 1}: {known}"
    opened = error.context_mark
    begun = "not closed" in known or "never closed" in known or "without its colon" in known
    if begun and opened is not None and opened.line != mark.line:
        return BrokenError(opened.line + 1, message.replace(f"column {mark.column + 1}", f"column {opened.column + 1}"))
    return BrokenError(mark.line + 1, message)
