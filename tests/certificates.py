"""An authority of the tests' own, and certificates of it, made with OpenSSL."""

import ssl
import subprocess
from pathlib import Path

_CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[holder]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:{name}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Authority:
    """Signs certificates, all in one folder; `ca_file` is its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._cert, self._key = self._make(name, "authority")
        self.ca_file = str(self._cert)

    def certificate(self, name: str) -> tuple[str, str]:
        """The files of a certificate for a host or a client, and of its key."""
        cert, key = self._make(name, "holder", "-CA", str(self._cert), "-CAkey", str(self._key))
        return str(cert), str(key)

    def server(self, name: str = "localhost", *, wants_client: bool = False) -> ssl.SSLContext:
        """How a server of this name speaks TLS; if it wants clients to show a certificate, one of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.certificate(name))
        if wants_client:
            context.load_verify_locations(self.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _make(self, name: str, kind: str, *signed: str) -> tuple[Path, Path]:
        config, cert, key = (self._folder / f"{name}.{end}" for end in ("cnf", "pem", "key"))
        config.write_text(_CONFIG.format(name=name))
        command = ["openssl", "req", "-x509", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        files = ["-nodes", "-config", str(config), "-extensions", kind, "-keyout", str(key), "-out", str(cert)]
        subprocess.run([*command, *files, *signed], check=True, capture_output=True, timeout=60)
        return cert, key
