"""``version`` and ``info``."""

from __future__ import annotations

import sys

from wherry import __version__
from wherry.cli.context import Context
from wherry.cli.options import Arguments, Command, Option
from wherry.cli.text import binary_size
from wherry.errors import Unavailable

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_FORMAT = Option("-f --format", "Format output using a custom template: 'json' or a Go template")


# --- version ------------------------------------------------------------------------------------


def _version(context: Context, arguments: Arguments) -> int:
    python = ".".join(map(str, sys.version_info[:3]))
    client = {"Version": __version__, "PythonVersion": python, "Os": sys.platform}
    server, problem = None, None
    if not arguments.flag("client"):
        try:
            server = context.session.get("/version")
        except Unavailable as error:
            problem = error
    if form := arguments.text("format"):
        if server and form != "json":  # as Docker's templates call it
            server = server | {"APIVersion": server.get("ApiVersion")}
        context.print(_render(form, {"Client": client, "Server": server}))
    else:
        context.print(f"Client: Wherry\n Version:    {__version__}\n Python:     {python}")
        if server:
            context.print(_server_text(server))
    if problem:
        raise problem
    return 0


def _server_text(server: dict[str, Any]) -> str:
    platform = (server.get("Platform") or {}).get("Name") or "Engine"
    minimum = f" (minimum version {server.get('MinAPIVersion', '')})"
    lines = {
        "Version": server.get("Version"),
        "API version": f"{server.get('ApiVersion')}{minimum}",
        "Built": server.get("BuildTime"),
        "OS/Arch": f"{server.get('Os')}/{server.get('Arch')}",
        "Kernel": server.get("KernelVersion"),
    }
    shown = [f" {name + ':':<17} {value}" for name, value in lines.items() if value]
    return "\n".join([f"\nServer: {platform}", *shown])


def _render(form: str, data: object) -> str:
    from wherry.cli.template import Template

    return Template("{{json .}}" if form == "json" else form).render(data)


# --- info ---------------------------------------------------------------------------------------


def _info(context: Context, arguments: Arguments) -> int:
    info = context.session.get("/info")
    client = {"Version": __version__}
    if form := arguments.text("format"):
        context.print(_render(form, {**info, "ClientInfo": client}))
        return 0
    context.print(f"Client: Wherry\n Version: {__version__}\n\nServer:")
    for line in _info_lines(info):
        context.print(f" {line}")
    for warning in info.get("Warnings") or ():
        context.complain(warning)
    return 0


def _info_lines(info: dict[str, Any]) -> list[str]:
    facts = {
        "Containers": info.get("Containers"),
        " Running": info.get("ContainersRunning"),
        " Paused": info.get("ContainersPaused"),
        " Stopped": info.get("ContainersStopped"),
        "Images": info.get("Images"),
        "Server Version": info.get("ServerVersion"),
        "Storage Driver": info.get("Driver"),
        "Logging Driver": info.get("LoggingDriver"),
        "Cgroup Driver": info.get("CgroupDriver"),
        "Cgroup Version": info.get("CgroupVersion"),
        "Runtimes": " ".join(sorted(info.get("Runtimes") or ())),
        "Default Runtime": info.get("DefaultRuntime"),
        "Security Options": ", ".join(info.get("SecurityOptions") or ()),
        "Kernel Version": info.get("KernelVersion"),
        "Operating System": info.get("OperatingSystem"),
        "OSType": info.get("OSType"),
        "Architecture": info.get("Architecture"),
        "CPUs": info.get("NCPU"),
        "Total Memory": binary_size(info.get("MemTotal") or 0),
        "Name": info.get("Name"),
        "ID": info.get("ID"),
        "Root Dir": info.get("DockerRootDir"),
        "Debug Mode": str(bool(info.get("Debug"))).lower(),
        "HTTP Proxy": info.get("HttpProxy"),
        "HTTPS Proxy": info.get("HttpsProxy"),
        "No Proxy": info.get("NoProxy"),
        "Live Restore Enabled": str(bool(info.get("LiveRestoreEnabled"))).lower(),
    }
    return [f"{name}: {value}" for name, value in facts.items() if value not in (None, "")]


COMMANDS = {
    "version": Command(
        "version [OPTIONS]",
        "Show the version information",
        _version,
        (Option("--client", "Only the client's version; asks no engine", "flag"), _FORMAT),
        most=0,
    ),
    "info": Command("info [OPTIONS]", "Display system-wide information", _info, (_FORMAT,), most=0),
}
