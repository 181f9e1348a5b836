"""A certificate authority of the test's own, made by the openssl program."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

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

    def issue(self, name: str, subject_alt_name: str, *, digest: str = "sha256", days: int = 2) -> Certificate:
        """*subject_alt_name*: ``DNS:localhost`` or ``IP:127.0.0.1``.  *days*: it is valid; one that has ended: -1."""
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
            *(f"-{digest}", "-days", str(days), "-extfile", str(extensions), "-out", str(issued.certificate)),
        )
        return issued

    def issue_between(self, name: str, subject_alt_name: str, start: datetime, end: datetime) -> Certificate:
        """Valid from *start* to *end* (UTC); openssl x509 3.0 cannot set the beginning."""
        issued = self.issue(name, subject_alt_name)
        old = x509.load_pem_x509_certificate(issued.certificate.read_bytes())
        builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), old.serial_number, start, end)
        for extension in old.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        key = load_pem_private_key(self._key.read_bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        issued.certificate.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
        return issued

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, env=self._env)
        assert done.returncode == 0, done.stderr
