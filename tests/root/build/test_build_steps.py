"""Whole builds on real layers: what instructions do, and what a failure leaves."""

from __future__ import annotations

import io
import os
import threading

import pytest

from wherry.build.api import BuildCancelled, BuildRequest, CopyFailed, StepFailed
from wherry.build.scope import DEFAULT_PATH
from wherry.errors import (
    DataCorrupt,
    InvalidArgument,
    NotFound,
    NotSupported,
    PermissionDenied,
    ResourceExhausted,
)

pytestmark = pytest.mark.root

FLASK = """\
FROM busybox
COPY app.py /app/
WORKDIR /app
RUN echo installed > /lib64/flask
CMD ["python", "app.py"]
"""


def test_the_tutorial(bench) -> None:
    result = bench.build(FLASK, {"app.py": b"print()\n"}, tags=["my-python-app", "a/b:1"])
    image = bench.images.get("my-python-app")
    assert image.id == result.image == bench.images.get("a/b:1").id
    assert image.config.config.cmd == ("python", "app.py")
    assert image.config.config.working_dir == "/app"
    assert bench.read(result, "usr/lib/flask") == "installed\n"
    assert bench.read(result, "app/app.py") == "print()\n"
    assert result.tags == ("my-python-app:latest", "a/b:1")
    lines = bench.text.splitlines()
    assert lines[0] == "Step 1/5 : FROM busybox"
    assert lines[2] == "Step 2/5 : COPY app.py /app/"
    assert lines[-3:] == [
        f"Successfully built {image.id[7:19]}",
        "Successfully tagged my-python-app:latest",
        "Successfully tagged a/b:1",
    ]


def test_the_history_is_buildkits(bench) -> None:
    result = bench.build(FLASK, {"app.py": b""})
    history = bench.config(result).history
    assert [(entry.created_by, entry.empty_layer) for entry in history] == [
        ("COPY app.py /app/ # buildkit", False),
        ("WORKDIR /app", True),  # COPY has made it
        ("RUN /bin/sh -c echo installed > /lib64/flask # buildkit", False),
        ('CMD ["python" "app.py"]', True),
    ]
    assert {entry.comment for entry in history} == {"wherry.build.v0"}


def test_the_configuration(bench) -> None:
    result = bench.build(
        """\
        FROM busybox
        ARG port=80
        ENV a=1 b="$port x" PATH=$PATH:/x
        ENV a=2
        LABEL one=1 "two words"='$a'
        EXPOSE $port 53/udp 90-91
        USER app:staff
        WORKDIR /x
        WORKDIR y/../z
        VOLUME /data ${a}
        STOPSIGNAL SIGINT
        HEALTHCHECK --interval=5s CMD true
        SHELL ["/bin/sh", "-ec"]
        CMD run $a
        ONBUILD RUN true
        MAINTAINER Me
        """,
        labels={"one": "$a", "three": "3"},
    )
    image = bench.config(result)
    config = image.config
    assert config.env == (f"PATH={DEFAULT_PATH}:/x", "a=2", "b=80 x")
    assert config.labels == {"one": "$a", "two words": "$a", "three": "3"}
    assert list(config.exposed_ports) == ["53/udp", "80/tcp", "90/tcp", "91/tcp"]
    assert (config.user, config.working_dir, config.stop_signal) == ("app:staff", "/x/z", "SIGINT")
    assert list(config.volumes) == ["/data", "2"]
    assert config.healthcheck.test == ("CMD-SHELL", "true")
    assert config.cmd == ("/bin/sh", "-ec", "run $a")
    assert config.on_build == ("RUN true",)
    assert image.author == "Me"
    assert bench.lstat(result, "x/z").st_mode & 0o7777 == 0o755


def test_a_new_entrypoint_resets_an_inherited_cmd(bench) -> None:
    bench.build('FROM busybox\nCMD ["old"]', tags=["parent"])
    reset = bench.build('FROM parent\nENTRYPOINT ["x"]')
    kept = bench.build('FROM parent\nCMD ["new"]\nENTRYPOINT ["x"]')
    assert bench.config(reset).config.cmd is None
    assert bench.config(kept).config.cmd == ("new",)


def test_run_sees_arguments_environment_and_user(bench) -> None:
    result = bench.build(
        """\
        FROM busybox
        ARG who=arg
        ARG other
        ENV who=env
        RUN echo $who ${other:-none} $HTTP_PROXY $http_proxy > /out
        WORKDIR /tmp
        RUN chmod 777 .
        ARG uid=1000
        USER $uid:50
        RUN echo $(id -u) $(id -g) > mine
        """,
        build_args={"who": "given", "HTTP_PROXY": "http://p", "other": None},
        proxy_env={"http_proxy": "http://q"},
    )
    assert bench.read(result, "out") == "env none http://p http://q\n"
    assert bench.read(result, "tmp/mine") == "1000 50\n"
    assert "http://" not in str(bench.config(result))


def test_an_argument_before_from_is_invisible_until_declared(bench) -> None:
    result = bench.build(
        """\
        ARG base=busybox
        ARG v=outer
        FROM $base
        RUN echo "[$v]" > /one
        ARG v
        RUN echo "[$v]" > /two
        ARG TARGETARCH
        RUN echo "[$TARGETARCH]" > /three
        """,
        platform="linux/amd64",
    )
    assert bench.read(result, "one") == "[]\n"
    assert bench.read(result, "two") == "[outer]\n"
    assert bench.read(result, "three") == "[amd64]\n"


def test_an_argument_that_nobody_declares_is_a_warning(bench) -> None:
    result = bench.build("FROM busybox\nARG a", build_args={"a": "1", "x": "2", "no_proxy": "y"})
    warning = "[Warning] One or more build-args [x] were not consumed"
    assert result.warnings == (warning,)
    assert f"{warning}\n" in bench.text


def test_here_documents(bench) -> None:
    result = bench.build(
        """\
FROM busybox
ARG name=World
RUN <<EOT
echo one > /one
echo "$name" > /two
EOT
RUN cat > /three <<'EOT'
$name
EOT
RUN <<EOT
#!/bin/sh
echo "$0" > /four
EOT
COPY <<hello.txt <<"raw.txt" /docs/
Hello "$name" \\$x
hello.txt
$name
raw.txt
"""
    )
    assert bench.read(result, "two") == "World\n"
    assert bench.read(result, "three") == "$name\n"
    assert bench.read(result, "four") == "/dev/pipes/EOT\n"
    assert bench.read(result, "docs/hello.txt") == 'Hello "World" $x\n'
    assert bench.read(result, "docs/raw.txt") == "$name\n"
    assert not bench.look(result, lambda root: (root / "dev/pipes").exists())


def test_stages(bench) -> None:
    result = bench.build(
        """\
        FROM busybox AS one
        RUN mkdir /o && echo 1 > /o/f && chmod 640 /o/f && ln -s f /o/link
        FROM busybox AS unused
        RUN false
        FROM one AS two
        RUN echo 2 >> /o/f
        FROM scratch
        COPY --from=two /o /copied
        COPY --from=0 /o/f /first
        COPY --from=busybox /etc/passwd /etc/
        """
    )
    assert bench.tree(result, ".") == [
        "copied", "copied/f", "copied/link", "etc", "etc/passwd", "first",
    ]  # fmt: skip
    assert bench.read(result, "copied/f") == "1\n2\n"
    assert bench.read(result, "first") == "1\n"
    assert bench.lstat(result, "copied/f").st_mode & 0o777 == 0o640
    assert "Step 1/8 : FROM busybox AS one" in bench.text


def test_a_target(bench) -> None:
    text = "FROM busybox AS a\nENV x=a\nFROM a AS b\nENV x=b\nFROM nosuch AS c\n"
    assert bench.config(bench.build(text, target="B")).config.env[1:] == ("x=b",)
    assert bench.config(bench.build(text, target="0")).config.env[1:] == ("x=a",)
    with pytest.raises(InvalidArgument, match="target stage 'd' could not be found"):
        bench.build(text, target="d")


def test_a_circle(bench) -> None:
    with pytest.raises(InvalidArgument, match="line 2: circular dependency detected on stage: b"):
        bench.build("FROM busybox AS a\nCOPY --from=b x y\nFROM busybox AS b\nCOPY --from=a y x\n")
    assert bench.events == []


def test_triggers(bench) -> None:
    bench.build("FROM busybox\nONBUILD COPY f /got\nONBUILD RUN cat /got > /again", tags=["parent"])
    result = bench.build("FROM parent\nENV x=1", {"f": b"content"})
    assert bench.read(result, "again") == "content"
    assert bench.config(result).config.on_build is None
    assert "# Executing 2 build triggers\n" in bench.text


def test_a_failing_command(bench) -> None:
    before = {info.key for info in bench.snapshots.list()}
    with pytest.raises(StepFailed) as caught:
        bench.build("FROM busybox\nRUN exit 3\n", tags=["x"])
    assert str(caught.value) == "The command '/bin/sh -c exit 3' returned a non-zero code: 3"
    assert caught.value.code == 3
    assert {info.key for info in bench.snapshots.list()} == before
    assert "Removing" not in bench.text
    with pytest.raises(NotFound):
        bench.images.get("x")


def test_a_command_that_does_not_exist(bench) -> None:
    with pytest.raises(StepFailed, match="'nosuch' returned a non-zero code: 127"):
        bench.build('FROM busybox\nRUN ["nosuch"]\n')


def test_a_build_is_cancelled_while_a_step_runs(bench) -> None:
    timer = threading.Timer(0.3, bench.cancel.set)
    timer.start()
    with pytest.raises(BuildCancelled):
        bench.build("FROM busybox\nRUN sleep 60\n")
    timer.join()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the build context is empty"),
        ("\n", r"the Dockerfile \(Dockerfile\) cannot be empty"),
        ("RUN x\n", "line 1: no build stage in current context"),
        ("ARG x\n", "line 1: no build stage in current context"),
        ("FROM busybox\nFOO\n", "dockerfile parse error on line 2: unknown instruction: FOO"),
        ("FROM $nothing\n", r"line 1: base name \(\$nothing\) should not be blank"),
        ("FROM busybox\nCOPY --from=7 a b\n", "line 2: invalid from flag value 7"),
        ("FROM busybox AS a\nFROM busybox AS a\n", "line 2: duplicate name a"),
    ],
)
def test_a_bad_dockerfile_is_refused_before_the_first_event(bench, text, sentence) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        bench.build_tar(text.encode())
    assert bench.events == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("EXPOSE x", "line 2: invalid containerPort: x"),
        ("EXPOSE 80/icmp", "line 2: invalid proto: icmp"),
        ("STOPSIGNAL SIGNO", "line 2: invalid signal: SIGNO"),
        ('ENV a="${b:?is missing}"', "line 2: .*b: is missing"),
        ("ENV a=${b", "line 2: .*missing '}'"),
        ("COPY --chown=nobody x /", "COPY failed: unable to convert .* no such user: nobody"),
        ("COPY --chmod=9 x /", "COPY failed: invalid chmod parameter: '9'"),
        ("COPY x /etc/passwd/", "COPY failed: mkdir /etc/passwd: not a directory"),
        ("WORKDIR /etc/passwd/x", "WORKDIR failed: mkdir /etc/passwd/x: not a directory"),
        ("RUN --mount=type=secret,id=s,required true", "secret s: not found"),
    ],
)
def test_a_step_that_cannot_be_done(bench, text, sentence) -> None:
    with pytest.raises((InvalidArgument, NotFound), match=sentence):
        bench.build(f"FROM busybox\n{text}\n", {"x": b""})


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"squash": True}, "squash"),
        ({"version": "2"}, "version 2"),
        ({"outputs": "[]"}, "outputs"),
        ({"remote": "https://example.com/x.git"}, "git"),
        ({"remote": "git@example.com:x"}, "git"),
        ({"network_mode": "container:x"}, "network mode container"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(bench, request_, name) -> None:
    with pytest.raises(NotSupported, match=name):
        bench.build("FROM busybox\n", **request_)


def test_a_dockerfile_cannot_take_the_hosts_network(bench) -> None:
    text = "FROM busybox\nRUN --network=host true\nRUN --network=none true\nRUN true\n"
    with pytest.raises(PermissionDenied, match="--network=host"):
        bench.build(text)
    bench.build(text, network_mode="host")
    assert [step.host.network_mode for step in bench.runner.steps] == ["host", "none", "host"]


def test_limits_reach_the_runner(bench) -> None:
    bench.build(
        "FROM busybox\nRUN true\n", memory=1 << 30, shm_size=1 << 20, extra_hosts=["a:1.2.3.4"],
        host_ca=True,
    )  # fmt: skip
    (step,) = bench.runner.steps
    assert (step.host.memory, step.host.shm_size) == (1 << 30, 1 << 20)
    assert step.host.extra_hosts == ("a:1.2.3.4",)
    assert step.host_ca


def test_mounts(bench) -> None:
    text = """\
        FROM busybox AS tools
        RUN mkdir /t && echo tool > /t/x
        FROM busybox
        RUN --mount=type=cache,target=/cache,id=c echo $RANDOM >> /cache/log; cat /cache/log > /n{n}
        RUN --mount=type=bind,source=src,target=/src cat /src/f > /f; ! touch /src/new
        RUN --mount=type=bind,source=src,target=/rw,rw touch /rw/new
        RUN --mount=type=bind,from=tools,source=/t,target=/tools cat /tools/x > /x
        RUN --mount=type=tmpfs,target=/scratch touch /scratch/y
        RUN --mount=type=secret,id=key stat -c %a /run/secrets/key > /mode
        RUN --mount=type=secret,id=key,env=KEY test "$KEY" = $(echo s3-ret | sed s/-/c/)
        """
    files: dict[str, bytes | str] = {"src/": b"", "src/f": b"content"}
    secrets = {"key": "czNjcmV0"}  # bytes travel as base64
    bench.build(text.replace("{n}", "1"), files, secrets=secrets)
    result = bench.build(text.replace("{n}", "2"), files, secrets=secrets)
    assert len(bench.read(result, "n2").splitlines()) == 2
    assert bench.read(result, "f") == "content"
    assert bench.read(result, "x") == "tool\n"
    assert bench.read(result, "mode") == "400\n"
    names = bench.tree(result, ".")
    assert not {"cache", "src", "rw", "tools", "scratch", "run"} & set(names)
    assert "s3cret" not in str(bench.config(result))


def test_a_shared_cache_mount_is_pruned_with_the_cache(bench) -> None:
    bench.build("FROM busybox\nRUN --mount=type=cache,target=/c touch /c/x\n")
    pruned = bench.builder.prune()
    assert (pruned.steps, pruned.mounts) == (1, 1)
    assert os.listdir(bench.place / "build" / "mounts") == []


def test_a_damaged_context(bench) -> None:
    with pytest.raises(DataCorrupt):
        bench.build_tar(b"\x1f\x8b\x08" + bytes(2000))
    with pytest.raises(InvalidArgument, match="neither a tar archive nor a Dockerfile"):
        bench.build_tar(os.urandom(700) + b"\0" * 100)


def test_a_dockerfile_alone_is_a_context(bench) -> None:
    result = bench.build_tar(b"FROM busybox\nENV alone=1\n")
    assert bench.config(result).config.env[1:] == ("alone=1",)


def test_leftovers_of_a_crash_are_removed(bench) -> None:
    bench.snapshots.prepare("build-0123", None)
    (bench.place / "build" / "work" / "build-x").mkdir()
    tools = bench.builder._tools
    type(bench.builder)(
        bench.images, bench.snapshots, tools.cache._db, tools.runner, tools.resolver,
        directory=str(bench.place / "build"),
    )  # fmt: skip
    assert bench.active() == []


def test_a_stream_that_gives_little_at_a_time(bench) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 7, 7))

    data = bench.context("FROM busybox\nCOPY f /\n", {"f": b"1"})
    result = bench.builder.build(BuildRequest(), Slow(data), bench.events.append, bench.cancel)
    assert bench.read(result, "f") == "1"


def test_a_missing_file_is_dockers_sentence(bench) -> None:
    with pytest.raises(CopyFailed) as caught:
        bench.build("FROM busybox\nCOPY nosuch /\n")
    assert str(caught.value) == (
        "COPY failed: file not found in build context or excluded by .dockerignore: "
        "stat nosuch: file does not exist"
    )


def test_a_trigger_cannot_name_a_stage_that_is_not_built(bench) -> None:
    bench.build("FROM busybox\nONBUILD COPY --from=late /x /x", tags=["parent"])
    with pytest.raises(InvalidArgument, match="the stage late is not built"):
        bench.build("FROM parent\nFROM busybox AS late\n", target="0")


def test_builds_at_the_same_time(bench) -> None:
    text = "FROM busybox\nCOPY f /f\nRUN echo x > /x\n"
    context = bench.context(text, {"f": b"1"})
    results: list[str] = []

    def build() -> None:
        stream, events = io.BytesIO(context), bench.events.append
        results.append(bench.builder.build(BuildRequest(), stream, events, bench.cancel).image)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len(set(results)) == 1


def test_a_full_disk(bench_on_16_mib) -> None:
    bench = bench_on_16_mib
    before = {info.key for info in bench.snapshots.list()}
    with pytest.raises(ResourceExhausted, match="no space left on device"):
        bench.build("FROM busybox\nCOPY f /f\n", {"f": os.urandom(8 << 20)}, tags=["full"])
    assert {info.key for info in bench.snapshots.list()} == before
    small = bench.build("FROM busybox\nCOPY f /f\n", {"f": b"1"})
    assert bench.read(small, "f") == "1"


def test_a_base_alone_is_that_image(bench) -> None:
    base = bench.images.get("busybox")
    result = bench.build("FROM busybox\n", tags=["same"])
    assert result.image == base.id == bench.images.get("same").id
    with pytest.raises(InvalidArgument, match="No image was generated"):
        bench.build("FROM scratch\n")
