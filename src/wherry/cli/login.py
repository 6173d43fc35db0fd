"""``login`` and ``logout``."""

from __future__ import annotations

import sys

from wherry.cli.context import STDIN, Context, is_terminal
from wherry.cli.credentials import HUB, CredentialStore, server_key
from wherry.cli.options import Arguments, Command, CommandError, Option


def _login(context: Context, arguments: Arguments) -> int:
    server = server_key(arguments.words[0] if arguments.words else "")
    user, password = _ask(arguments)
    body = {"username": user, "password": password, "serveraddress": server}
    answer = context.session.post("/auth", json=body) or {}
    token = answer.get("IdentityToken") or ""
    CredentialStore(context.config_directory).put(server, user, password, token)
    context.print(answer.get("Status") or "Login Succeeded")
    return 0


def _ask(arguments: Arguments) -> tuple[str, str]:
    user = arguments.text("username")
    if arguments.flag("password-stdin"):
        if not user or arguments.given("password"):
            raise CommandError("--password-stdin needs --username, and no --password", 1)
        return user, sys.stdin.readline().rstrip("\r\n")
    if not is_terminal(STDIN) and not (user and arguments.given("password")):
        raise CommandError("cannot ask for credentials without a terminal: use --password-stdin", 1)
    user = user or input("Username: ").strip()
    if arguments.given("password"):
        return user, arguments.text("password")
    from getpass import getpass

    return user, getpass("Password: ")


def _logout(context: Context, arguments: Arguments) -> int:
    server = server_key(arguments.words[0] if arguments.words else "")
    if not CredentialStore(context.config_directory).forget(server):
        context.print(f"Not logged in to {server}")
        return 0
    context.print(f"Removing login credentials for {server}")
    return 0


COMMANDS = {
    "login": Command(
        "login [OPTIONS] [SERVER]",
        f"Log in to a registry (by default {HUB})",
        _login,
        (
            Option("-p --password", "Password (seen by others in the list of processes)"),
            Option("--password-stdin", "Take the password from stdin", "flag"),
            Option("-u --username", "Username"),
        ),
        most=1,
    ),
    "logout": Command("logout [SERVER]", "Log out from a registry", _logout, most=1),
}
