from __future__ import annotations

import errno
import os

import pytest

from wherry.daemon.kernel import check_kernel
from wherry.errors import NotSupported
from wherry.sys import mount, overlay


def test_this_kernel_will_do() -> None:
    check_kernel()


def test_an_old_kernel_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(mount, "mount_setattr", lacking)
    with pytest.raises(NotSupported, match=r"lacks mount_setattr.*needs Linux 5\.12"):
        check_kernel()


def test_old_kernels_are_not_asked_for_layers_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time they would write of it to the kernel's log."""
    monkeypatch.setattr(overlay, "_RELEASE", (6, 1))
    monkeypatch.setattr(mount, "fsopen", lambda name: pytest.fail("the kernel was asked"))
    with pytest.raises(OSError, match="one by one") as refused:
        overlay.mount_overlay(["/a", "/b"])
    assert refused.value.errno == errno.EINVAL
