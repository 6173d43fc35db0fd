"""A plugin of pytest that shows each failure when it happens.

In an emulated machine a run takes an hour, and one that is ended early has no summary.
"""

from __future__ import annotations

import pytest


class AtOnce:
    """Writes failures to the terminal."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write_line(f"\nwherry-vm: {report.nodeid} ({report.when})")
            terminal.write_line(report.longreprtext)
            for name, text in report.sections:
                terminal.write_line(f"{name}:\n{text}")


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest."""
    config.pluginmanager.register(AtOnce(config), "wherry-vm-at-once")
