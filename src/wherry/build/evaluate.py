"""Expansion of an instruction: variables replaced where the Dockerfile reference says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from wherry.build.instructions import (
    AnyInstruction,
    Arg,
    Copy,
    Env,
    Expose,
    Label,
    Pair,
    Run,
    RunMount,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from wherry.build.lines import Heredoc, ParseError
from wherry.build.words import BadSubstitution, expand, expand_document, expand_words

_Expand = Callable[[str], str]


def expanded(
    instruction: AnyInstruction, variables: Mapping[str, str], escape: str
) -> AnyInstruction:
    """The instruction as it is to be done; ParseError names the line of a bad substitution.

    CMD, ENTRYPOINT, RUN, SHELL, HEALTHCHECK, MAINTAINER and ONBUILD keep their text: the shell
    in the container expands it, or nobody.
    """

    def word(text: str) -> str:
        return expand(text, variables, escape)

    def words(text: str) -> list[str]:
        return expand_words(text, variables, escape)

    def document(text: str) -> str:
        return expand_document(text, variables, escape)

    try:
        if isinstance(instruction, Copy):
            return _copy(instruction, word, document)
        return _expanded(instruction, word, words)
    except BadSubstitution as error:
        shown = f"failed to process {instruction.text!r}: {error}"
        raise ParseError(instruction.line, shown) from None


def expand_text(text: str, line: int, variables: Mapping[str, str], escape: str) -> str:
    """One word of an instruction on ``line``; ParseError."""
    try:
        return expand(text, variables, escape)
    except BadSubstitution as error:
        raise ParseError(line, f'failed to process "{text}": {error}') from None


def _expanded(
    instruction: AnyInstruction, word: _Expand, words: Callable[[str], list[str]]
) -> AnyInstruction:
    match instruction:
        case Env() | Label():
            return replace(instruction, pairs=_pairs(instruction.pairs, word))
        case Arg():
            items = tuple((word(n), v if v is None else word(v)) for n, v in instruction.items)
            return replace(instruction, items=items)
        case Expose():
            ports = tuple(port for text in instruction.ports for port in words(text))
            return replace(instruction, ports=ports)
        case User():
            return replace(instruction, user=word(instruction.user))
        case Workdir():
            return replace(instruction, path=word(instruction.path))
        case Volume():
            return replace(instruction, paths=tuple(map(word, instruction.paths)))
        case StopSignal():
            return replace(instruction, signal=word(instruction.signal))
        case Run():
            return replace(instruction, mounts=tuple(_mount(m, word) for m in instruction.mounts))
    return instruction


def _pairs(pairs: tuple[Pair, ...], word: _Expand) -> tuple[Pair, ...]:
    return tuple(Pair(word(pair.name), word(pair.value)) for pair in pairs)


def _copy(copy: Copy, word: _Expand, document: _Expand) -> Copy:
    names = {f"<<{'-' if d.chomp else ''}{d.name}" for d in copy.heredocs}
    return replace(
        copy,
        sources=tuple(s if _bare(s) in names else word(s) for s in copy.sources),
        destination=word(copy.destination),
        heredocs=tuple(_heredoc(heredoc, document) for heredoc in copy.heredocs),
        chown=word(copy.chown),
        chmod=word(copy.chmod),
        checksum=word(copy.checksum),
        exclude=tuple(map(word, copy.exclude)),
    )


def _bare(source: str) -> str:
    return source.replace('"', "").replace("'", "")


def _heredoc(heredoc: Heredoc, document: _Expand) -> Heredoc:
    text = document(heredoc.data) if heredoc.expand else heredoc.data
    return replace(heredoc, content=text, chomp=False)


def _mount(mount: RunMount, word: _Expand) -> RunMount:
    return replace(
        mount,
        target=word(mount.target),
        source=word(mount.source),
        id=word(mount.id),
    )
