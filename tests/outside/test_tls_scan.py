"""What scanners of TLS find: nothing, by Mozilla's intermediate profile (sslyze, some seconds; testssl.sh, minutes, when SIDEBEAT_TEST_TESTSSL=1)."""

import datetime
import ipaddress
import json
import os
import pathlib
import subprocess

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness.sidebeat import Sidebeat, listener

HERE = pathlib.Path(__file__).resolve().parent
# What testssl.sh says of every such server: clients choose the suite, as Mozilla recommends; the app, which is not there, would send the headers;
# and the CA is the test's own, without revocation and DNS.
OF_EVERY_SUCH_SERVER = {"cipher_order", "HSTS", "security_headers", "cert_revocation", "DNS_CAArecord", "overall_grade"}


@pytest.fixture(scope="module")
def scanner():
    return subprocess.run([HERE / "scanner"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def key_of(kind):
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, 2048)


def issue(directory, kind):
    """The certificate that a CA of today would give to localhost; trustme's have an extension that is critical and must not be."""
    ca = trustme.CA()
    root = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    signer = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    key, now = key_of(kind), datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=80))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    files = [directory / name for name in ("tls.crt", "tls.key", "ca.crt")]
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    ca.cert_pem.write_to_path(str(files[2]))
    return files


@pytest.fixture
def served(tmp_path):
    """A function that makes a listener with a certificate of a kind of key; it gives its configuration and the file of the CA."""

    def serve(scheme, kind):
        cert, key, root = issue(tmp_path, kind)
        upstream = "ws://127.0.0.1:1" if scheme == "wss" else "tcp://127.0.0.1:1"
        return listener(scheme, upstream, tls={"certificates": [{"cert": str(cert), "key": str(key)}]}), root

    return serve


@pytest.mark.parametrize(("scheme", "kind"), [("wss", "ecdsa"), ("tls", "rsa")])
def test_sslyze_finds_the_intermediate_profile_of_mozilla(scheme, kind, scanner, served, tmp_path):
    config, root = served(scheme, kind)
    with Sidebeat({"main": config}) as sidebeat:
        host, port = sidebeat.at()
        report = tmp_path / "report.json"
        command = [scanner, "--mozilla_config", "intermediate", "--certinfo_ca_file", root, "--json_out", report, f"{host}:{port}"]
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert ran.returncode == 0 and "Compliant" in ran.stdout, ran.stdout[-3000:]
        [scanned] = json.loads(report.read_text())["server_scan_results"]
        found = {name: scan["result"] for name, scan in scanned["scan_result"].items() if scan and scan["result"]}
        for old in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
            assert found[f"{old}_cipher_suites"]["accepted_cipher_suites"] == [], old
        for new, count in (("tls_1_2", 3), ("tls_1_3", 3)):
            accepted = found[f"{new}_cipher_suites"]["accepted_cipher_suites"]
            assert len(accepted) == count, accepted
        assert found["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"] is False
        assert found["tls_fallback_scsv"]["supports_fallback_scsv"] is True


@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.environ.get("SIDEBEAT_TEST_TESTSSL") != "1", reason="takes minutes: SIDEBEAT_TEST_TESTSSL=1")
def test_testssl_finds_no_weakness(served, tmp_path):
    config, root = served("wss", "ecdsa")
    with Sidebeat({"main": config}) as sidebeat:
        host, port = sidebeat.at()
        report = tmp_path / "report.json"
        command = ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--add-ca", root, "--jsonfile", report, f"{host}:{port}"]
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        found = json.loads(report.read_text())
        assert len(found) > 60, ran.stdout[-3000:]
        weak = [finding for finding in found if finding["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL") and finding["id"] not in OF_EVERY_SUCH_SERVER]
        assert not weak, weak
