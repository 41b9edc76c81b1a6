//! One connection of the load: TCP or TLS, opened as a WebSocket or left raw.

use std::io::{ErrorKind, Read, Result as IoResult, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::Result;

/// What a client needs to speak TLS: TLS 1.3 with AES-128-GCM, so that every proxy does the same work.
pub fn tls(ca: &str, resume: bool) -> Result<Arc<ClientConfig>> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !resume {
        config.resumption = rustls::client::Resumption::disabled();
    }
    Ok(Arc::new(config))
}

/// A connection; reads and writes say `WouldBlock` like the socket below.
pub struct Client {
    /// The socket, to be registered.
    pub socket: TcpStream,
    session: Option<Box<ClientConnection>>,
}

impl Client {
    /// Starts to connect.
    pub fn connect(to: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let socket = TcpStream::connect(to)?;
        let session = match tls {
            Some(config) => Some(Box::new(ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?)),
            None => None,
        };
        Ok(Self { socket, session })
    }

    /// Sends what TLS has to say; plain connections have nothing.
    pub fn flush(&mut self) -> IoResult<()> {
        if let Some(session) = &mut self.session {
            while session.wants_write() {
                session.write_tls(&mut self.socket)?;
            }
        }
        Ok(())
    }
}

impl Read for Client {
    fn read(&mut self, out: &mut [u8]) -> IoResult<usize> {
        let Some(session) = &mut self.session else { return self.socket.read(out) };
        loop {
            match session.reader().read(out) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            let ended = session.read_tls(&mut self.socket)? == 0;
            session.process_new_packets().map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))?;
            while session.wants_write() {
                session.write_tls(&mut self.socket)?;
            }
            if ended {
                return session.reader().read(out);
            }
        }
    }
}

impl Write for Client {
    fn write(&mut self, data: &[u8]) -> IoResult<usize> {
        let Some(session) = &mut self.session else { return self.socket.write(data) };
        while session.wants_write() {
            session.write_tls(&mut self.socket)?;
        }
        let taken = session.writer().write(data)?;
        while session.wants_write() {
            match session.write_tls(&mut self.socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                written => written?,
            };
        }
        Ok(taken)
    }

    fn flush(&mut self) -> IoResult<()> {
        Client::flush(self)
    }
}

/// A WebSocket opening; the key is fixed, since nobody here is fooled.
pub fn opening(to: SocketAddr) -> Vec<u8> {
    format!("GET /bench HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: c2lkZS1ieS1zaWRlLTE2Yg==\r\nSec-WebSocket-Version: 13\r\n\r\n").into_bytes()
}

/// A masked frame whose key is zero, so that nobody at the two ends spends time on masking.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        size @ 0..126 => frame.push(0x80 | size as u8),
        size @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(size as u16).to_be_bytes());
        }
        size => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Sec-WebSocket-Accept of a key (RFC 6455 4.2.2).
pub fn accept(key: &str) -> String {
    let digest = sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(28);
    for chunk in digest.chunks(3) {
        let word = u32::from(chunk[0]) << 16 | u32::from(*chunk.get(1).unwrap_or(&0)) << 8 | u32::from(*chunk.get(2).unwrap_or(&0));
        for at in 0..4 {
            if at <= chunk.len() {
                text.push(char::from(ALPHABET[(word >> (18 - 6 * at)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// SHA-1 (FIPS 180-4), which only the opening needs.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    let mut hash = [0x6745_2301_u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for at in 16..80 {
            words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = hash;
        for (at, word) in words.iter().enumerate() {
            let (mix, constant) = match at {
                0..20 => (b & c | !b & d, 0x5A82_7999_u32),
                20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
                40..60 => (b & c | b & d | c & d, 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6),
            };
            let next = a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, add) in hash.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(add);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(hash) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    #[test]
    fn accept_is_that_of_rfc_6455_1_3() {
        assert_eq!(super::accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
