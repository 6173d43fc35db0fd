"""A ``config.json`` that breaks the specification's types or ranges is refused with the path of the
field. What is broken here is every field of the model, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import Spec
from wherry.runtime.documents import read_spec

Step = str | int
info = msgspec.inspect


def sample(kind: info.Type) -> Any:
    """The smallest value of a type that has every field below it."""
    if isinstance(kind, info.StructType):
        return {field.encode_name: sample(field.type) for field in kind.fields}
    if isinstance(kind, info.UnionType):
        return sample(kind.types[0])
    if isinstance(kind, info.VarTupleType):
        return [sample(kind.item_type)]
    if isinstance(kind, info.DictType):
        return {"key": sample(kind.value_type)}
    if isinstance(kind, info.LiteralType):
        return kind.values[0]
    if isinstance(kind, info.IntType):
        return max(kind.ge or 0, 1)
    return {info.StrType: "a", info.BoolType: True, info.AnyType: 1}[type(kind)]


def fields(
    kind: info.Type, path: tuple[Step, ...] = ()
) -> Iterator[tuple[tuple[Step, ...], info.Type]]:
    """Every place in a configuration and its type."""
    if isinstance(kind, info.UnionType):
        yield from fields(kind.types[0], path)
        return
    yield path, kind
    if isinstance(kind, info.StructType):
        for field in kind.fields:
            yield from fields(field.type, (*path, field.encode_name))
    elif isinstance(kind, info.VarTupleType):
        yield from fields(kind.item_type, (*path, 0))
    elif isinstance(kind, info.DictType):
        yield from fields(kind.value_type, (*path, "key"))


KIND = info.type_info(Spec)
FIELDS = [(path, kind) for path, kind in fields(KIND) if path and type(kind) is not info.AnyType]
NUMBERS = [(path, kind) for path, kind in FIELDS if isinstance(kind, info.IntType)]


def broken(path: tuple[Step, ...], value: object) -> bytes:
    config = sample(KIND)
    place = config
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(config).encode()


def shown(path: tuple[Step, ...]) -> str:
    """As the message has it: keys of a map and indices are not told apart by name."""
    text = "$"
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else "[...]" if step == "key" else f".{step}"
    return text


def named(one: object) -> str:
    return shown(one) if isinstance(one, tuple) else ""


def refusal(tmp_path: Path, data: bytes) -> str:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(InvalidArgument) as caught:
        read_spec(str(tmp_path))
    return str(caught.value)


def test_the_whole_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(json.dumps(sample(KIND)).encode())
    assert read_spec(str(tmp_path)).process is not None


@pytest.mark.parametrize(("path", "kind"), FIELDS, ids=named)
def test_a_field_of_another_type(tmp_path: Path, path: tuple[Step, ...], kind: info.Type) -> None:
    wrong: object = 1.5 if not isinstance(kind, info.StructType) else "text"
    text = refusal(tmp_path, broken(path, wrong))
    assert text.endswith(f"at `{shown(path)}`")
    assert "\n" not in text


@pytest.mark.parametrize(("path", "kind"), NUMBERS, ids=named)
def test_a_number_out_of_its_range(
    tmp_path: Path, path: tuple[Step, ...], kind: info.IntType
) -> None:
    assert kind.ge is not None, "every number of the specification has a range"
    assert refusal(tmp_path, broken(path, kind.ge - 1)).endswith(f"at `{shown(path)}`")
    if kind.le is not None:
        assert refusal(tmp_path, broken(path, kind.le + 1)).endswith(f"at `{shown(path)}`")


@pytest.mark.parametrize(
    ("section", "name"), [((), "ociVersion"), (("root",), "path"), (("process",), "cwd")]
)
def test_a_required_field_that_is_missing(
    tmp_path: Path, section: tuple[str, ...], name: str
) -> None:
    config = sample(KIND)
    place = config
    for step in section:
        place = place[step]
    del place[name]
    assert f"missing required field `{name}`" in refusal(tmp_path, json.dumps(config).encode())


def outcome(read: Callable[[], Spec]) -> object:
    """The configuration, or what is wrong with it."""
    try:
        return read()
    except (InvalidArgument, msgspec.ValidationError) as error:
        return str(error).rpartition(": ")[2]


NAMED = [path for path, _ in FIELDS if isinstance(path[-1], str) and path[-1] != "key"]


@pytest.mark.parametrize("path", NAMED, ids=named)
def test_a_field_that_is_null_is_absent(tmp_path: Path, path: tuple[Step, ...]) -> None:
    (tmp_path / "config.json").write_bytes(broken(path, None))
    absent = sample(KIND)
    place = absent
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    expected = outcome(lambda: msgspec.convert(absent, Spec))
    assert outcome(lambda: read_spec(str(tmp_path))) == expected


def test_a_null_in_a_list_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, broken(("process", "args", 0), None)).endswith("`$.process.args[0]`")
