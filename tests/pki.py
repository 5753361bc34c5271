"""An authority made for a test, with a certificate for a server and one for a client."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Pki:
    """Files of one authority, a server's certificate and a client's."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self.server = self._issue(authority.issue_cert("127.0.0.1", "localhost"), folder, "server")
        self.client = self._issue(authority.issue_cert("somebody"), folder, "client")

    @staticmethod
    def _issue(cert: trustme.LeafCert, folder: Path, name: str) -> tuple[Path, Path]:
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in cert.cert_chain_pems))
        cert.private_key_pem.write_to_path(str(key))
        return certificate, key

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--tls-certificate", str(self.server[0]), "--tls-key", str(self.server[1]))

    def context(self, *, with_certificate: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        if with_certificate:
            context.load_cert_chain(*map(str, self.client))
        return context
