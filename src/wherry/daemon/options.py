"""The daemon's options: flags and the configuration file, read once and checked together.

Flags and keys have dockerd's names. What is given in both places is refused, as dockerd does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from wherry.daemon.logs import FORMATS
from wherry.daemon.runtimes import RuntimeEntry
from wherry.engine.containers.runtimes import OWN
from wherry.engine.logs.options import LOG_DRIVERS, check_log_config
from wherry.errors import InvalidArgument
from wherry.model.container import LogConfig

DEFAULT_CONFIG = "/etc/wherry/daemon.json"
DEFAULT_HOST = "unix:///run/wherry/wherry.sock"
LEVELS = ("debug", "info", "warn", "error", "fatal")

Kind = Literal["text", "number", "switch", "list", "map"]


class BadOptions(InvalidArgument):
    """A flag or a key of the configuration file is unknown, wrong or given twice."""


class Option(msgspec.Struct, frozen=True):
    """``flag`` without dashes; ``key`` is the name in the configuration file."""

    flag: str
    kind: Kind
    help: str
    key: str = ""
    short: str = ""

    @property
    def name(self) -> str:
        return self.key or self.flag


OPTIONS = (
    Option(
        "host",
        "list",
        "socket to listen on: unix://PATH, tcp://ADDRESS:PORT or fd:// (systemd)",
        "hosts",
        "H",
    ),
    Option("socket", "list", "PATH,policy=FILE: socket for those who may not do all", "sockets"),
    Option("tls", "switch", "serve TCP with TLS; false: allow TCP without it"),
    Option("tlsverify", "switch", "TLS, and only for clients with a certificate"),
    Option("tlscacert", "text", "authority of the clients' certificates (PEM file)"),
    Option("tlscert", "text", "the engine's certificate (PEM file)"),
    Option("tlskey", "text", "the engine's key (PEM file)"),
    Option("data-root", "text", "where images, layers and containers are kept"),
    Option("exec-root", "text", "where the state of running containers is kept"),
    Option("pidfile", "text", "file to write the engine's process id to", short="p"),
    Option("log-level", "text", f"one of {', '.join(LEVELS)}", short="l"),
    Option("log-format", "text", f"of the engine's own log: one of {', '.join(FORMATS)}"),
    Option("metrics-addr", "text", "ADDRESS:PORT that serves GET /metrics and nothing else"),
    Option("debug", "switch", "log everything", short="D"),
    Option("group", "text", "group that may use the Unix socket (name or id)", short="G"),
    Option("label", "list", "KEY=VALUE shown by info", "labels"),
    Option("insecure-registry", "list", "registry without (good) TLS", "insecure-registries"),
    Option(
        "registry-mirror", "list", "URL asked for Docker Hub's images first", "registry-mirrors"
    ),
    Option("bip", "text", "address and subnet of the default bridge, in CIDR form"),
    Option(
        "accept-forward",
        "switch",
        "let containers' packets pass iptables' FORWARD chain where its policy is DROP",
    ),
    Option("mtu", "number", "MTU of the networks, in bytes"),
    Option("dns", "list", "name server for containers"),
    Option("dns-opt", "list", "resolver option for containers", "dns-opts"),
    Option("dns-search", "list", "search domain for containers"),
    Option("cgroup-parent", "text", "control group above those of all containers"),
    Option("exec-opt", "list", "native.cgroupdriver=cgroupfs or systemd", "exec-opts"),
    Option("add-runtime", "list", "NAME=PATH of another OCI runtime"),
    Option("default-runtime", "text", "runtime of containers that name none"),
    Option(
        "userns-remap",
        "text",
        "USER[:GROUP] (or default) whose subordinate ids containers have on the host",
    ),
    Option("selinux-enabled", "switch", "label containers where the kernel has SELinux"),
    Option("host-ca", "switch", "show the host's certificate authorities to containers and builds"),
    Option("insecure-tcp", "switch", "allow TCP without TLS: whoever can connect is root"),
    Option(
        "log-driver",
        "text",
        f"log of containers that name none: none or {', '.join(LOG_DRIVERS)}",
    ),
    Option("log-opt", "map", "KEY=VALUE of the log driver for containers", "log-opts"),
    Option("live-restore", "switch", "accepted; containers always outlive the engine"),
)
_BY_NAME = {option.name: option for option in OPTIONS}

_DECODERS: dict[Kind, Any] = {
    "text": str,
    "number": int,
    "switch": bool,
    "list": list[str],
    "map": dict[str, str],
}
_TABLES: dict[str, Any] = {"proxies": dict[str, str], "runtimes": dict[str, RuntimeEntry]}


class Options(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """What was asked for, with the defaults for what was not."""

    hosts: tuple[str, ...] = (DEFAULT_HOST,)
    data_root: str = "/var/lib/wherry"
    exec_root: str = "/run/wherry"
    pidfile: str = ""
    log_level: str = "info"
    log_format: str = "text"
    metrics_addr: str = ""
    log_driver: str = ""
    log_opts: dict[str, str] = {}
    debug: bool = False
    group: str = ""
    labels: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    bip: str = ""
    accept_forward: bool = False
    mtu: int = 0
    dns: tuple[str, ...] = ()
    dns_opts: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    cgroup_parent: str = ""
    exec_opts: tuple[str, ...] = ()
    add_runtime: tuple[str, ...] = ()
    runtimes: dict[str, RuntimeEntry] = {}
    default_runtime: str = OWN
    userns_remap: str = ""
    selinux_enabled: bool = False
    host_ca: bool = False
    insecure_tcp: bool = False
    sockets: tuple[str, ...] = ()
    tls: bool | None = None
    tlsverify: bool = False
    tlscacert: str = ""
    tlscert: str = ""
    tlskey: str = ""
    live_restore: bool = True
    proxies: dict[str, str] = {}


class _Pairs(argparse.Action):
    """Collects KEY=VALUE of every time the flag is given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        key, mark, value = values.partition("=")
        if not key or not mark:
            parser.error(f"{option_string} {values!r} is not of the form KEY=VALUE")
        have = getattr(namespace, self.dest, {})
        setattr(namespace, self.dest, {**have, key: value})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise BadOptions(f"{message}; see wherry daemon --help")


def _parser(version: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="wherry daemon",
        description="The container engine.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for option in OPTIONS:
        names = [f"-{option.short}"] * bool(option.short) + [f"--{option.flag}"]
        if option.kind == "switch":
            parser.add_argument(
                *names, dest=option.name, help=option.help, type=_switch, nargs="?", const=True
            )
        elif option.kind == "map":
            parser.add_argument(*names, dest=option.name, help=option.help, action=_Pairs)
        elif option.kind == "list":
            parser.add_argument(*names, dest=option.name, help=option.help, action="append")
        else:
            kind = int if option.kind == "number" else str
            parser.add_argument(*names, dest=option.name, help=option.help, type=kind)
    parser.add_argument("--config-file", help=f"JSON file of options (default {DEFAULT_CONFIG})")
    parser.add_argument("-v", "--version", action="version", version=f"wherry {version}")
    return parser


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() in ("true", "1")


def read_options(argv: Sequence[str], version: str = "") -> Options:
    """Flags and file as one value. BadOptions; exits for ``--help`` and ``--version``."""
    flags = vars(_parser(version).parse_args(list(argv)))
    path = flags.pop("config_file", None)
    values = _read_file(path or DEFAULT_CONFIG, required=path is not None)
    both = sorted(set(flags) & set(values))
    if both:
        told = ", ".join(f"{n}: (from flag: {flags[n]}, from file: {values[n]})" for n in both)
        raise BadOptions(
            "the following directives are specified both as a flag and in the configuration"
            f" file: {told}"
        )
    return _checked(msgspec.convert(flags | values, Options))


def _read_file(path: str, *, required: bool) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        if required:
            raise BadOptions(f"the configuration file {path} does not exist") from None
        return {}
    except OSError as error:
        raise BadOptions(
            f"the configuration file {path} cannot be read: {error.strerror}"
        ) from None
    if not data.strip():
        return {}
    try:
        values = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadOptions(f"the configuration file {path} is not a JSON object: {error}") from None
    for key, value in values.items():
        _check_key(path, key, value)
    return values


def _check_key(path: str, key: str, value: object) -> None:
    option = _BY_NAME.get(key)
    if option is None and key not in _TABLES:
        raise BadOptions(f"the configuration file {path} has a key that is not known: {key!r}")
    kind = _DECODERS[option.kind] if option else _TABLES[key]
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise BadOptions(f"the key {key!r} in {path} has a wrong value: {error}") from None


def _check_log(options: Options) -> None:
    try:
        check_log_config(LogConfig(type=options.log_driver, config=options.log_opts))
    except InvalidArgument as error:
        raise BadOptions(f"the log of containers cannot be set up: {error}") from None


def _checked(options: Options) -> Options:
    if options.log_level not in LEVELS:
        raise BadOptions(
            f"the log level {options.log_level!r} is not known: want one of {', '.join(LEVELS)}"
        )
    if options.log_format not in FORMATS:
        raise BadOptions(
            f"the log format {options.log_format!r} is not known: want one of {', '.join(FORMATS)}"
        )
    _check_log(options)
    for label in options.labels:
        if not label.partition("=")[0]:
            raise BadOptions(f"the label {label!r} has no key: want KEY=VALUE")
    unknown = set(options.proxies) - {"http-proxy", "https-proxy", "no-proxy"}
    if unknown:
        raise BadOptions(f"the key 'proxies' has unknown members: {', '.join(sorted(unknown))}")
    return options
