"""Whole commands against a server that answers as engines do."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.cli import commands
from wherry.cli.help import command_help
from wherry.cli.main import load, run
from wherry.testing.fake_api import Answer, FakeApi, Request, frame

_ID = "ab" * 32
Cli = Callable[..., "Done"]


class Done:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with FakeApi(tmp_path / "api.sock") as server:
        yield server


@pytest.fixture
def cli(api: FakeApi, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Cli:
    def call(*words: str) -> Done:
        code = run(words, {"WHERRY_HOST": api.host, "HOME": str(tmp_path)})
        sys.stdout.flush()
        return Done(code, *capfd.readouterr())

    return call


# --- run ------------------------------------------------------------------------------------------


@pytest.fixture
def container(api: FakeApi) -> FakeApi:
    """A container that writes a line on each stream and ends with status 3."""

    def attach(link: socket.socket, request: Request) -> None:
        link.sendall(frame(1, b"out\n") + frame(2, b"err\n"))

    api.on("POST", "/containers/create", status=201, json={"Id": _ID, "Warnings": ["beware"]})
    api.on("POST", f"/containers/{_ID}/attach", takeover=attach)
    api.on("POST", f"/containers/{_ID}/start", status=204)
    api.on("POST", f"/containers/{_ID}/wait", json={"StatusCode": 3})
    return api


def test_run(container: FakeApi, cli: Cli) -> None:
    done = cli("run", "--rm", "--name", "box", "busybox", "ls", "-l")
    assert (done.code, done.out, done.err) == (3, "out\n", "WARNING: beware\nerr\n")
    asked = [(r.method, r.path.rpartition("/")[2]) for r in container.requests]
    assert asked == [("POST", verb) for verb in ("create", "attach", "wait", "start")]
    assert container.asked("POST", "/containers/create").query == {"name": "box"}
    assert container.asked("POST", f"/containers/{_ID}/wait").query == {"condition": "removed"}
    assert container.asked("POST", f"/containers/{_ID}/attach").query == {
        "stream": "1",
        "stdout": "1",
        "stderr": "1",
    }


def test_run_detached(container: FakeApi, cli: Cli) -> None:
    done = cli("run", "-d", "busybox")
    assert (done.code, done.out) == (0, f"{_ID}\n")
    assert [r.path.rpartition("/")[2] for r in container.requests] == ["create", "start"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "nosuch": executable file not found in $PATH: unknown', 127),
        ("stat /nosuch: no such file or directory: unknown", 127),
        ('exec: "/etc": permission denied: unknown', 126),
        ('exec: "/etc": is a directory: unknown', 126),
        ("the address is in use", 125),
    ],
)
def test_a_start_that_fails(container: FakeApi, cli: Cli, message: str, code: int) -> None:
    container.fail("POST", f"/containers/{_ID}/start", 400, message)
    done = cli("run", "busybox")
    assert (done.code, done.err) == (code, f"WARNING: beware\nwherry: {message}\n")


def test_a_creation_that_fails(api: FakeApi, cli: Cli) -> None:
    api.fail("POST", "/containers/create", 409, "the name is in use")
    done = cli("run", "busybox")
    assert (done.code, done.err) == (125, "wherry: the name is in use\n")


def test_a_missing_image_is_pulled(container: FakeApi, cli: Cli) -> None:
    answers = iter(
        [
            Answer(404, b'{"message":"No such image: busybox:latest"}'),
            Answer(201, json.dumps({"Id": _ID, "Warnings": []}).encode()),
        ]
    )
    container.on("POST", "/containers/create", handler=lambda _: next(answers))
    container.on("POST", "/images/create", lines=[{"status": "Pulling", "id": "latest"}])
    done = cli("run", "busybox")
    assert done.code == 3
    assert done.err.startswith("Unable to find image 'busybox:latest' locally\nlatest: Pulling\n")


def test_pull_never(api: FakeApi, cli: Cli) -> None:
    api.fail("POST", "/containers/create", 404, "No such image: busybox:latest")
    assert cli("run", "--pull", "never", "busybox").code == 125
    assert cli("run", "--pull", "perhaps", "busybox").code == 125
    assert [r.path for r in api.requests] == ["/containers/create"]


def test_the_file_for_the_id(container: FakeApi, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "cid"
    assert cli("create", "--cidfile", str(path), "busybox").code == 0
    assert path.read_text() == _ID
    again = cli("run", "--cidfile", str(path), "busybox")
    assert again.code == 125
    assert "container ID file found" in again.err
    container.fail("POST", "/containers/create", 400, "no")
    assert cli("create", "--cidfile", str(tmp_path / "other"), "busybox").code == 1
    assert not (tmp_path / "other").exists()


def test_a_file_that_is_missing(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "--env-file", str(tmp_path / "none"), "busybox")
    assert (done.code, done.err) == (125, f"wherry: {tmp_path}/none: no such file\n")
    assert not api.requests


def test_a_terminal_is_needed_for_it(container: FakeApi, cli: Cli) -> None:
    done = cli("run", "-it", "busybox")
    assert (done.code, done.err) == (1, "wherry: the input device is not a TTY\n")
    assert not container.requests


# --- exec, logs, lifecycle ------------------------------------------------------------------------


def test_exec(api: FakeApi, cli: Cli) -> None:
    api.on("POST", "/containers/box/exec", status=201, json={"Id": "e1"})
    api.on("POST", "/exec/e1/start", takeover=lambda link, _: link.sendall(frame(1, b"hi")))
    api.on("GET", "/exec/e1/json", json={"ExitCode": 9})
    done = cli("exec", "-e", "A=b", "-w", "/x", "box", "ls", "-l")
    assert (done.code, done.out) == (9, "hi")
    body = api.asked("POST", "/containers/box/exec").json
    assert (body["Cmd"], body["Env"], body["WorkingDir"]) == (["ls", "-l"], ["A=b"], "/x")


def test_logs(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/containers/box/json", json={"Id": _ID, "Config": {"Tty": False}})
    chunks = [frame(1, b"one\n") + frame(2, b"two\n")[:5], frame(2, b"two\n")[5:]]
    logs = f"/containers/{_ID}/logs"
    api.on("GET", logs, handler=lambda _: Answer(chunks=chunks))
    done = cli("logs", "-t", "--tail", "5", "--since", "2026-01-01T00:00:00Z", "box")
    assert (done.out, done.err) == ("one\n", "two\n")
    query = api.asked("GET", logs).query
    assert (query["tail"], query["timestamps"], query["since"]) == (
        "5",
        "1",
        "1767225600.000000000",
    )


def test_one_that_fails_does_not_stop_the_others(api: FakeApi, cli: Cli) -> None:
    api.fail("POST", "/containers/a/stop", 404, "No such container: a")
    api.on("POST", "/containers/b/stop", status=304)
    done = cli("stop", "-t", "3", "a", "b")
    assert (done.code, done.out, done.err) == (1, "b\n", "wherry: No such container: a\n")
    assert api.asked("POST", "/containers/b/stop").query == {"t": "3"}


def test_rm_and_wait(api: FakeApi, cli: Cli) -> None:
    api.on("DELETE", "/containers/a", status=204)
    api.on("POST", "/containers/a/wait", json={"StatusCode": 137})
    assert cli("rm", "-fv", "a").out == "a\n"
    assert api.asked("DELETE", "/containers/a").query == {"force": "1", "v": "1", "link": "0"}
    assert cli("container", "wait", "a").out == "137\n"


# --- lists ----------------------------------------------------------------------------------------

_CONTAINER = {
    "Id": _ID,
    "Names": ["/box"],
    "Image": "busybox",
    "Command": "sleep 100000000000000000",
    "Created": 0,
    "Status": "Up 5 minutes",
    "State": "running",
    "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
    "Labels": {"b": "2", "a": "1"},
    "SizeRw": 1000,
}


def test_ps(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/containers/json", json=[_CONTAINER])
    title, line = cli("ps", "-a", "--filter", "name=x", "--filter", "name=y").out.splitlines()
    assert title.split("  ")[0] == "CONTAINER ID"
    assert title.endswith("NAMES")
    assert '"sleep 10000000000000…"' not in line
    assert '"sleep 1000000000000…"' in line
    assert "0.0.0.0:8080->80/tcp   box" in line
    query = api.asked("GET", "/containers/json").query
    assert json.loads(query["filters"]) == {"name": ["x", "y"]}
    assert query["all"] == "1"


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["-q"], f"{_ID[:12]}\n"),
        (["-q", "--no-trunc"], f"{_ID}\n"),
        (["--format", "{{.Names}}|{{.State}}|{{.Labels}}"], "box|running|a=1,b=2\n"),
        (["--format", r"table {{.Names}}\t{{.State}}"], "NAMES     STATE\nbox       running\n"),
        (["-s", "--format", "{{.Size}}"], "1kB\n"),
    ],
)
def test_ps_formats(api: FakeApi, cli: Cli, words: list[str], out: str) -> None:
    api.on("GET", "/containers/json", json=[_CONTAINER])
    assert cli("container", "ls", *words).out == out


def test_ps_as_json(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/containers/json", json=[_CONTAINER])
    assert json.loads(cli("ps", "--format", "json").out)["Names"] == "box"


def test_images(api: FakeApi, cli: Cli) -> None:
    image = {"Id": "sha256:" + _ID, "RepoTags": ["a:1", "b:2"], "Created": 0, "Size": 2_000_000}
    bare = {"Id": "sha256:" + "cd" * 32, "RepoTags": None, "Created": 0, "Size": 1}
    api.on("GET", "/images/json", json=[image, bare])
    assert cli("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}").out == (
        "a:1 abababababab 2MB\nb:2 abababababab 2MB\n<none>:<none> cdcdcdcdcdcd 1B\n"
    )
    assert cli("images", "-q").out == "abababababab\ncdcdcdcdcdcd\n"
    cli("image", "ls", "b")
    assert json.loads(api.requests[-1].query["filters"]) == {"reference": ["b"]}


def test_inspect_looks_at_every_kind(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/volumes/data", json={"Name": "data", "Labels": {"a": "b"}})
    assert json.loads(cli("inspect", "data").out)[0]["Name"] == "data"
    assert cli("inspect", "-f", "{{.Labels.a}}", "data").out == "b\n"
    done = cli("inspect", "data", "nosuch")
    assert (done.code, done.err) == (1, "wherry: No such object: nosuch\n")
    missing = cli("network", "inspect", "data")
    assert (missing.code, missing.out) == (1, "[]\n")


# --- builds, transfers ----------------------------------------------------------------------------


def test_build(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c/Dockerfile").write_text("FROM scratch\n")
    lines = [{"stream": "Step 1/1\n"}, {"aux": {"ID": "sha256:9"}}, {"stream": "Successfully\n"}]
    api.on("POST", "/build", lines=lines)
    iid = tmp_path / "iid"
    words = ("--host-ca", "--build-arg", "A=1", "--iidfile", str(iid), str(tmp_path / "c"))
    done = cli("build", "-t", "x", "-t", "y", *words)
    assert (done.code, done.out) == (0, "Step 1/1\nSuccessfully\n")
    assert iid.read_text() == "sha256:9"
    asked = api.asked("POST", "/build")
    assert asked.queries["t"] == ["x", "y"]
    assert (asked.query["buildargs"], asked.query["rm"]) == ('{"A":"1"}', "1")
    assert asked.headers["x-wherry-host-ca"] == "1"
    assert cli("build", "-q", str(tmp_path / "c")).out == "sha256:9\n"


def test_a_step_that_fails_gives_its_status(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    api.on("POST", "/build", lines=[{"errorDetail": {"code": 5, "message": "it failed"}}])
    done = cli("build", str(tmp_path))
    assert (done.code, done.err) == (5, "wherry: it failed\n")


def test_pull(api: FakeApi, cli: Cli) -> None:
    detail = {"current": 5, "total": 10}
    lines = [
        {"status": "Pulling from library/busybox", "id": "latest"},
        {"status": "Downloading", "progressDetail": detail, "id": "abc"},
        {"status": "Pull complete", "id": "abc"},
        {"status": "Status: Downloaded newer image for busybox:latest"},
    ]
    api.on("POST", "/images/create", lines=lines)
    assert cli("pull", "busybox").out == (
        "Using default tag: latest\n"
        "latest: Pulling from library/busybox\n"
        "abc: Pull complete\n"
        "Status: Downloaded newer image for busybox:latest\n"
        "docker.io/library/busybox:latest\n"
    )
    assert cli("pull", "-q", "host:1/x:2").out == "host:1/x:2\n"
    assert api.requests[-1].query == {"fromImage": "host:1/x", "tag": "2"}


def test_save_leaves_no_half_file(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise ConnectionResetError

    api.on("GET", "/images/get", handler=lambda _: Answer(chunks=[b"whole"]))
    assert cli("save", "-o", str(tmp_path / "a.tar"), "x", "y").code == 0
    assert (tmp_path / "a.tar").read_bytes() == b"whole"
    assert api.asked("GET", "/images/get").queries["names"] == ["x", "y"]
    api.on("GET", "/images/get", handler=lambda _: Answer(404, b'{"message":"No such image: x"}'))
    assert cli("save", "-o", str(tmp_path / "b.tar"), "x").code == 1
    assert [p.name for p in tmp_path.glob("*.tar*")] == ["a.tar"]


def test_bootstrap(api: FakeApi, cli: Cli) -> None:
    known = [{"Name": "busybox", "Description": "a static busybox"}]
    api.on("GET", "/wherry/bootstrap", json=known)
    assert "busybox   a static busybox" in cli("bootstrap", "--list").out
    api.on("POST", "/wherry/bootstrap", lines=[{"status": "made"}])
    assert cli("bootstrap", "busybox").out == "made\n"
    assert api.asked("POST", "/wherry/bootstrap").query == {"name": "busybox"}
    assert cli("bootstrap").code == 1


def test_prune_asks_first(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api.on("POST", "/containers/prune", json={"ContainersDeleted": ["x"], "SpaceReclaimed": 5})
    (tmp_path / "no").write_text("n\n")
    with (tmp_path / "no").open() as answer:
        monkeypatch.setattr(sys, "stdin", answer)
        assert "[y/N]" in cli("container", "prune").out
    assert not api.requests
    done = cli("container", "prune", "-f")
    assert done.out == "Deleted Containers:\nx\n\nTotal reclaimed space: 5B\n"


# --- the command itself ---------------------------------------------------------------------------


def test_unknown_commands(cli: Cli) -> None:
    done = cli("rnu")
    assert (done.code, done.out) == (1, "")
    assert "unknown command: wherry rnu (did you mean 'run'?)" in done.err
    assert "did you mean 'image ls'" in cli("image", "lss").err


def test_usage_mistakes(cli: Cli) -> None:
    done = cli("run", "--nmae", "x", "busybox")
    assert done.code == 125
    assert "unknown flag: --nmae; did you mean --name?" in done.err
    assert "Run 'wherry run --help' for more information" in done.err
    assert cli("stop").code == 1


def test_nobody_answers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["-H", f"unix://{tmp_path}/none", "ps"], {}) == 1
    err = capfd.readouterr().err
    assert err.startswith(f"wherry: cannot connect to the engine at unix://{tmp_path}/none: ")
    assert err.count("\n") == 1


def test_version_without_an_engine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["-H", f"unix://{tmp_path}/none", "version", "--client"], {}) == 0
    assert run(["--version"], {}) == 0
    assert "Wherry version" in capfd.readouterr().out


def _every_command() -> list[tuple[str, str, str]]:
    grouped = [
        (f"{group} {name}", *place)
        for group, (_, table) in commands.GROUPS.items()
        for name, place in table.items()
    ]
    return [(name, *place) for name, place in commands.TOP.items()] + grouped


@pytest.mark.parametrize(("name", "module", "summary"), _every_command())
def test_every_command_loads_and_has_help(name: str, module: str, summary: str) -> None:
    command = load(module, name)
    assert command_help(command).startswith("Usage:  wherry ")
    found = commands.find(name.split())
    assert found is not None
    assert found[1][0] == module
    names = [option.name for option in command.options]
    shorts = [option.short for option in command.options if option.short]
    assert len(set(names)) == len(names)
    assert len(set(shorts)) == len(shorts)


def test_helps(cli: Cli) -> None:
    assert "Common Commands:\n  run " in cli().out
    assert "wherry network COMMAND" in cli("network").out
    assert "--memory bytes" in cli("help", "run").out
