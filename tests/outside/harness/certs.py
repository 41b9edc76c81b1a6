"""A certificate authority of the test's own."""

import ssl

import trustme


class Authority:
    """Issues certificates into a directory and knows who trusts them."""

    def __init__(self, directory):
        self.directory = directory
        self.ca = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        self.ca.cert_pem.write_to_path(self.ca_file)

    def issue(self, name, *names, **life):
        """(cert file, key file) for these host names and addresses; `life` is not_before and not_after."""
        issued = self.ca.issue_cert(*names, common_name=name, **life)
        cert, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
        return str(cert), str(key)

    def tls(self, **rest):
        """The `tls` part of a listener that serves a certificate for localhost."""
        cert, key = self.issue("server", "localhost", "127.0.0.1")
        return {"certificates": [{"cert": cert, "key": key}], **rest}

    def client(self, identity=None):
        """What a client needs to trust this authority, and the certificate that it shows."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if identity:
            context.load_cert_chain(*identity)
        return context

    def server(self, *names):
        """What an upstream needs to speak TLS under these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue("upstream", *names))
        return context
