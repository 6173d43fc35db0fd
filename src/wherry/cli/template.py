"""Go's text templates, as far as ``--format`` uses them, over decoded JSON.

Known: fields and variables, ``if``, ``else``, ``range``, ``with``, pipelines, parentheses, trimming
(``{{-``), comments and the functions in ``template_functions``. A field that is missing where a
template starts is an error, as with Docker; a deeper one prints ``<no value>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from wherry.cli.options import UsageError
from wherry.cli.template_functions import FUNCTIONS, TemplateError, show

_ACTION = re.compile(r"\{\{(-\s)?\s*((?:`[^`]*`|\"(?:\\.|[^\"\\])*\"|.)*?)\s*(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)
    |(?P<number>-?\d+(?:\.\d+)?)
    |(?P<path>\$?\w*(?:\.\w+)+|\$\w*|\.)
    |(?P<word>\w+)
    |(?P<mark>:=|=|[|(),]))""",
    re.VERBOSE,
)
_ESCAPES = {r"\t": "\t", r"\n": "\n"}

Scope = dict[str, object]
Token = tuple[str, str]


class Template:
    """A parsed template."""

    def __init__(self, text: str) -> None:
        parser = _Parser(text)
        self._nodes = parser.block()
        if parser.closer:
            raise UsageError(f"template parsing error: unexpected {{{{{parser.closer}}}}}", 64)

    def render(self, data: object) -> str:
        """The text for ``data``; UsageError if the template does not fit it."""
        try:
            return "".join(_render(self._nodes, data, {"$": data}))
        except TemplateError as error:
            raise UsageError(f"template: {error}", 1) from None


def compile_format(text: str) -> Template:
    """A template from the command line, where a backslash and ``t`` stand for a tab."""
    for written, meant in _ESCAPES.items():
        text = text.replace(written, meant)
    return Template(text)


# --- what a template consists of ----------------------------------------------------------------


class _Node:
    def render(self, dot: object, scope: Scope) -> Iterator[str]:
        raise NotImplementedError


class _Text(_Node):
    def __init__(self, text: str) -> None:
        self._text = text

    def render(self, dot: object, scope: Scope) -> Iterator[str]:
        yield self._text


class _Print(_Node):
    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe

    def render(self, dot: object, scope: Scope) -> Iterator[str]:
        value = self._pipe.value(dot, scope)
        if self._pipe.names:
            scope[self._pipe.names[0]] = value
        else:
            yield show(value)


class _Choice(_Node):
    """``if`` and ``with``: the latter moves the dot."""

    def __init__(self, pipe: Pipeline, *, moves: bool) -> None:
        self._pipe = pipe
        self._moves = moves
        self.body: list[_Node] = []
        self.otherwise: list[_Node] = []

    def render(self, dot: object, scope: Scope) -> Iterator[str]:
        value = self._pipe.value(dot, scope)
        inner = dict(scope)
        if self._pipe.names:
            inner[self._pipe.names[0]] = value
        if value:
            yield from _render(self.body, value if self._moves else dot, inner)
        else:
            yield from _render(self.otherwise, dot, inner)


class _Range(_Node):
    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self.body: list[_Node] = []
        self.otherwise: list[_Node] = []

    def render(self, dot: object, scope: Scope) -> Iterator[str]:
        items = list(_items(self._pipe.value(dot, scope)))
        names = self._pipe.names
        for item in items:
            inner = dict(scope)
            inner.update(zip(names, item[-len(names) :] if names else (), strict=True))
            yield from _render(self.body, item[1], inner)
        if not items:
            yield from _render(self.otherwise, dot, scope)


def _render(nodes: Sequence[_Node], dot: object, scope: Scope) -> Iterator[str]:
    for node in nodes:
        yield from node.render(dot, scope)


def _items(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, dict):
        yield from ((key, value[key]) for key in sorted(value))
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif value is not None:
        raise TemplateError(f"range can't iterate over {show(value)}")


class Pipeline:
    """``$name := call | call``; each call's value is the last argument of the next."""

    def __init__(self, names: Sequence[str], calls: Sequence[Sequence[Operand]]) -> None:
        self.names = names
        self._calls = calls

    def value(self, dot: object, scope: Scope) -> object:
        extra: tuple[object, ...] = ()
        for call in self._calls:
            extra = (_call(call, extra, dot, scope),)
        return extra[0]


class _Chain:
    """``(pipeline).Field.Field``."""

    def __init__(self, pipe: Pipeline, path: str) -> None:
        self._pipe = pipe
        self._path = path

    def value(self, dot: object, scope: Scope) -> object:
        inner = self._pipe.value(dot, scope)
        return _resolve(self._path, inner, {"$": dot})


Operand = tuple[str, str] | Pipeline | _Chain


def _call(call: Sequence[Operand], extra: tuple[object, ...], dot: object, scope: Scope) -> object:
    head, *rest = call
    if isinstance(head, tuple) and head[0] == "word" and head[1] in FUNCTIONS:
        given = [_operand(operand, dot, scope) for operand in rest]
        try:
            return FUNCTIONS[head[1]](*given, *extra)
        except (TypeError, ValueError, AttributeError) as error:
            raise TemplateError(f"error calling {head[1]}: {error}") from None
    if rest or extra:
        raise TemplateError("only a function takes arguments")
    return _operand(head, dot, scope)


def _operand(operand: Operand, dot: object, scope: Scope) -> object:
    if not isinstance(operand, tuple):
        return operand.value(dot, scope)
    kind, text = operand
    if kind == "string":
        return _unquote(text)
    if kind == "number":
        return float(text) if "." in text else int(text)
    if kind == "path":
        return _resolve(text, dot, scope)
    constants: Mapping[str, object] = {"true": True, "false": False, "nil": None}
    if text in constants:
        return constants[text]
    return _operand_call(text)


def _operand_call(name: str) -> object:
    if name not in FUNCTIONS:
        raise TemplateError(f'function "{name}" not defined')
    return FUNCTIONS[name]()


def _unquote(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    plain = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda found: plain.get(found[1], found[1]), text[1:-1])


def _resolve(path: str, dot: object, scope: Scope) -> object:
    first, *names = path.split(".")
    if first and first not in scope:
        raise TemplateError(f'undefined variable "{first}"')
    value = scope[first] if first else dot
    for depth, name in enumerate(filter(None, names)):
        value = _field(value, name, strict=not first and depth == 0 and dot is scope["$"])
    return value


def _field(value: object, name: str, *, strict: bool) -> object:
    if isinstance(value, dict):
        if strict and name not in value:
            raise TemplateError(f"there is no field {name} (there are: {', '.join(value)})")
        return value.get(name)
    if value is None:
        return None
    raise TemplateError(f"can't evaluate field {name} in {show(value)}")


# --- parsing --------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str) -> None:
        self._pieces = _split(text)
        self.closer = ""  # the end or else that ended the last block
        self._rest: list[Token] = []

    def block(self) -> list[_Node]:
        """Nodes up to ``end``, ``else`` or the end of the text."""
        nodes: list[_Node] = []
        for literal, action in self._pieces:
            if literal:
                nodes.append(_Text(literal))
            if action is None or action.startswith("/*"):
                continue
            word, _, rest = action.partition(" ")
            if word in ("end", "else"):
                self.closer, self._rest = word, _tokens(rest)
                return nodes
            nodes.append(self._action(_tokens(action)))
        self.closer = ""
        return nodes

    def _action(self, tokens: list[Token]) -> _Node:
        head = tokens[0] if tokens else ("", "")
        if head in (("word", "if"), ("word", "with"), ("word", "range")):
            return self._nested(head[1], tokens[1:])
        return _Print(_pipeline(tokens))

    def _nested(self, word: str, tokens: list[Token]) -> _Node:
        pipe = _pipeline(tokens)
        node = _Range(pipe) if word == "range" else _Choice(pipe, moves=word == "with")
        node.body = self.block()
        if self.closer == "else" and self._rest:
            node.otherwise = [self._action(self._rest)]
        elif self.closer == "else":
            node.otherwise = self.block()
        if self.closer != "end":
            raise UsageError(f"template parsing error: {word} without {{{{end}}}}", 64)
        return node


def _split(text: str) -> Iterator[tuple[str, str | None]]:
    """Pairs of literal text and the action after it (None after the last)."""
    at, trim = 0, False
    for found in _ACTION.finditer(text):
        literal = text[at : found.start()]
        literal = literal.lstrip() if trim else literal
        yield (literal.rstrip() if found[1] else literal), found[2]
        at, trim = found.end(), bool(found[3])
    rest = text[at:]
    if "{{" in rest:
        raise UsageError("template parsing error: unclosed action", 64)
    yield (rest.lstrip() if trim else rest), None


def _tokens(text: str) -> list[Token]:
    """Kinds and texts; a path right behind a parenthesis is of the kind ``fields``."""
    tokens: list[Token] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise UsageError(f"template parsing error: unexpected {text[at:]!r}", 64)
        kind, token = found.lastgroup or "", found[0].strip()
        follows = tokens[-1:] == [("mark", ")")] and found[0].startswith(".")
        tokens.append(("fields" if follows else kind, token))
        at = found.end()
    return tokens


def _pipeline(tokens: list[Token]) -> Pipeline:
    names, rest = _names(tokens)
    waiting = list(reversed(rest))
    pipe = _calls(waiting, names)
    if waiting:
        raise UsageError("template parsing error: unexpected )", 64)
    return pipe


def _names(tokens: list[Token]) -> tuple[list[str], list[Token]]:
    """``$a, $b :=`` before a pipeline."""
    marks = [text for kind, text in tokens[:4] if kind == "mark"]
    if not any(mark in (":=", "=") for mark in marks):
        return [], tokens
    at = next(i for i, (kind, text) in enumerate(tokens) if kind == "mark" and text != ",")
    return [text for kind, text in tokens[:at] if kind == "path"], tokens[at + 1 :]


def _calls(waiting: list[Token], names: Sequence[str] = ()) -> Pipeline:
    calls: list[list[Operand]] = [[]]
    while waiting:
        kind, text = waiting[-1]
        if text == ")" and kind == "mark":
            break
        waiting.pop()
        if (kind, text) == ("mark", "("):
            calls[-1].append(_parenthesised(waiting))
        elif (kind, text) == ("mark", "|"):
            calls.append([])
        else:
            calls[-1].append((kind, text))
    if not all(calls):
        raise UsageError("template parsing error: missing value for command", 64)
    return Pipeline(names, calls)


def _parenthesised(waiting: list[Token]) -> Operand:
    """What is behind an opening parenthesis, with the fields that are taken of it."""
    inner = _calls(waiting)
    if not waiting:
        raise UsageError("template parsing error: unclosed left paren", 64)
    waiting.pop()
    if waiting and waiting[-1][0] == "fields":
        return _Chain(inner, waiting.pop()[1])
    return inner
