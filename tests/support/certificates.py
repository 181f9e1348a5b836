"""A certificate authority of the test's own, made by the openssl program."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.broker import missing
from support.false_time import FalseTime


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path


class Authority:
    def __init__(self, folder: Path, *, starts_s: float = 0.0) -> None:
        """*starts_s*: from now on; everything it signs is valid for two days from then."""
        if shutil.which("openssl") is None:
            missing("openssl")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._env = None
        if starts_s:
            self._env = FalseTime(folder / "faketime", starts_s).env
        self.ca = folder / "ca.pem"
        self._key = folder / "ca.key"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=test authority", "-keyout", str(self._key), "-out", str(self.ca)),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def issue(self, name: str, subject_alt_name: str) -> Certificate:
        """*subject_alt_name*: ``DNS:localhost`` or ``IP:127.0.0.1``."""
        issued = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName={subject_alt_name}\nauthorityKeyIdentifier=keyid\nkeyUsage=digitalSignature\n", "utf-8"
        )
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", str(issued.key), "-out", str(request)),
        )
        self._openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self._key), "-CAcreateserial"),
            *("-days", "2", "-extfile", str(extensions), "-out", str(issued.certificate)),
        )
        return issued

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, env=self._env)
        assert done.returncode == 0, done.stderr
