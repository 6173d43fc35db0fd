"""Certificates for tests, made by the openssl program: an authority, and who it vouches for."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_EXTENSIONS = "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n"


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@dataclass(frozen=True)
class Authority:
    """``ca.pem`` in a directory of its own, and what it signs beside it."""

    directory: Path

    @property
    def certificate(self) -> str:
        return f"{self.directory}/ca.pem"

    def sign(self, name: str) -> tuple[str, str]:
        """Paths of a certificate and its key."""
        stem = f"{self.directory}/{name}"
        _openssl(
            "req",
            *_CURVE,
            "-keyout",
            f"{stem}-key.pem",
            "-out",
            f"{stem}.csr",
            "-subj",
            f"/CN={name}",
        )
        extensions = Path(f"{stem}.ext")
        extensions.write_text(_EXTENSIONS)
        ca = ("-CA", self.certificate, "-CAkey", f"{self.directory}/ca-key.pem", "-CAcreateserial")
        signed = ("-days", "2", "-extfile", str(extensions), "-out", f"{stem}.pem")
        _openssl("x509", "-req", "-in", f"{stem}.csr", *ca, *signed)
        return f"{stem}.pem", f"{stem}-key.pem"


def new_authority(directory: Path) -> Authority:
    directory.mkdir(parents=True, exist_ok=True)
    files = ("-keyout", f"{directory}/ca-key.pem", "-out", f"{directory}/ca.pem")
    _openssl("req", "-x509", *_CURVE, "-days", "2", *files, "-subj", "/CN=authority")
    return Authority(directory)
