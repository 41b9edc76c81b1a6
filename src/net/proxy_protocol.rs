//! The PROXY protocol of HAProxy (proxy-protocol.txt), versions 1 and 2, in and out.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::sockopt::canonical;

/// Section 2.2.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const V2_HEAD: usize = 16;

const V1_SIGNATURE: &[u8] = b"PROXY ";

/// Section 2.1: the longest line there is, CRLF included.
const V1_LIMIT: usize = 107;

/// A length of version 2 may say 64 KiB; what is sent, certificates in TLVs included, fits into this.
const V2_LIMIT: usize = 4096;

/// Section 2.2.5: an opaque id of the connection, at most 128 bytes.
const PP2_TYPE_UNIQUE_ID: u8 = 0x05;

/// The ends of a connection as the proxy before us saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
}

/// Why a connection has no usable PROXY header.
#[derive(Debug, thiserror::Error)]
pub enum ProxyProtocolError {
    /// The first bytes are something else.
    #[error(
        "the connection does not begin with a PROXY header: send one, or remove its address from proxy_protocol.accept"
    )]
    Missing,
    /// The header breaks the specification.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// The connection ended or failed before the header was complete.
    #[error("no complete PROXY header: {0}")]
    Io(#[from] io::Error),
}

/// What a connection's first bytes are.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// A header may still become of them.
    Incomplete,
    /// A header of so many bytes. It has no addresses if the proxy speaks for itself (LOCAL, health checks) or does
    /// not know them (UNKNOWN), or if they are not of TCP.
    Complete(usize, Option<Addresses>),
}

/// Reads the header, and not a byte more, off a connection that must begin with one. `None`: the header names no
/// client, the connection's own addresses hold. The caller limits the time.
pub async fn read(tcp: &mut TcpStream) -> Result<Option<Addresses>, ProxyProtocolError> {
    // On the heap, or the future of every opening would carry it.
    let mut head = vec![0; V2_LIMIT];
    let mut filled = 0;
    loop {
        // Only a look: what follows the header belongs to TLS, HTTP or the app. No header is longer than the buffer, so
        // there is room as long as it is incomplete.
        let seen = filled + tcp.peek(&mut head[filled..]).await?;
        if seen == filled {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let (length, addresses) = match parse(&head[..seen])? {
            // All of it is the header's, and left in the socket it would wake us again at once.
            Head::Incomplete => (seen, None),
            Head::Complete(length, addresses) => (length, Some(addresses)),
        };
        tcp.read_exact(&mut head[filled..length]).await?;
        filled = length;
        if let Some(addresses) = addresses {
            return Ok(addresses);
        }
    }
}

fn parse(input: &[u8]) -> Result<Head, ProxyProtocolError> {
    if begins_alike(input, V2_SIGNATURE) {
        parse_v2(input)
    } else if begins_alike(input, V1_SIGNATURE) {
        parse_v1(input)
    } else {
        Err(ProxyProtocolError::Missing)
    }
}

fn begins_alike(input: &[u8], signature: &[u8]) -> bool {
    let length = input.len().min(signature.len());
    input[..length] == signature[..length]
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 51234 443\r\n`
fn parse_v1(input: &[u8]) -> Result<Head, ProxyProtocolError> {
    let window = &input[..input.len().min(V1_LIMIT)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return match window.len() {
            V1_LIMIT => Err(ProxyProtocolError::Malformed("the line is too long")),
            _ => Ok(Head::Incomplete),
        };
    };
    let line = std::str::from_utf8(&window[V1_SIGNATURE.len()..end])
        .map_err(|_| ProxyProtocolError::Malformed("the line is not text"))?;
    let fields: Vec<_> = line.split(' ').collect();
    let addresses = match fields[..] {
        // Section 2.1: whatever follows the word is to be ignored.
        ["UNKNOWN", ..] => None,
        ["TCP4", source, destination, from, to] => Some((
            v1_end::<Ipv4Addr>(source, from)?,
            v1_end::<Ipv4Addr>(destination, to)?,
        )),
        ["TCP6", source, destination, from, to] => Some((
            v1_end::<Ipv6Addr>(source, from)?,
            v1_end::<Ipv6Addr>(destination, to)?,
        )),
        _ => return Err(ProxyProtocolError::Malformed("not TCP4, TCP6 or UNKNOWN")),
    };
    let addresses = addresses.map(|(source, destination)| Addresses {
        source,
        destination,
    });
    Ok(Head::Complete(end + 2, addresses))
}

fn v1_end<Ip: std::str::FromStr + Into<IpAddr>>(
    ip: &str,
    port: &str,
) -> Result<SocketAddr, ProxyProtocolError> {
    let ip: Ip = ip
        .parse()
        .map_err(|_| ProxyProtocolError::Malformed("not an address of its family"))?;
    // `parse` alone takes `+80` and `0080`.
    let decimal =
        port.bytes().all(|byte| byte.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
    let port = port.parse().ok().filter(|_| decimal);
    let port = port.ok_or(ProxyProtocolError::Malformed("not a port"))?;
    Ok(canonical(SocketAddr::new(ip.into(), port)))
}

/// ```text
/// | signature 12 | version, command 1 | family 1 | length 2 | addresses ... TLVs ... |
///                                                            `------- length -------'
/// ```
fn parse_v2(input: &[u8]) -> Result<Head, ProxyProtocolError> {
    let Some((head, rest)) = input.split_first_chunk::<V2_HEAD>() else {
        return Ok(Head::Incomplete);
    };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if V2_HEAD + length > V2_LIMIT {
        return Err(ProxyProtocolError::Malformed(
            "it is longer than 4096 bytes",
        ));
    }
    let is_local = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyProtocolError::Malformed("unknown version or command")),
    };
    let Some(body) = rest.get(..length) else {
        return Ok(Head::Incomplete);
    };
    let addresses = match head[13] {
        _ if is_local => None,
        0x11 => Some(v2_addresses::<4>(body)?),
        0x21 => Some(v2_addresses::<16>(body)?),
        // Unspecified, UDP and unix sockets: section 2.2 asks to accept them and to use the real addresses.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => None,
        _ => return Err(ProxyProtocolError::Malformed("unknown address family")),
    };
    Ok(Head::Complete(V2_HEAD + length, addresses))
}

fn v2_addresses<const OCTETS: usize>(body: &[u8]) -> Result<Addresses, ProxyProtocolError>
where
    IpAddr: From<[u8; OCTETS]>,
{
    const SHORT: ProxyProtocolError = ProxyProtocolError::Malformed("too short for its addresses");
    let (source, rest) = body.split_first_chunk::<OCTETS>().ok_or(SHORT)?;
    let (destination, rest) = rest.split_first_chunk::<OCTETS>().ok_or(SHORT)?;
    let (ports, _tlvs) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    let end = |ip: [u8; OCTETS], port: [u8; 2]| {
        canonical(SocketAddr::new(ip.into(), u16::from_be_bytes(port)))
    };
    Ok(Addresses {
        source: end(*source, [ports[0], ports[1]]),
        destination: end(*destination, [ports[2], ports[3]]),
    })
}

/// A header of version 1.
pub fn encode_v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let line = match of_one_family(source, destination) {
        Family::V4(from, to) => format!("TCP4 {from} {to}"),
        Family::V6(from, to) => format!("TCP6 {from} {to}"),
    };
    let (from, to) = (source.port(), destination.port());
    format!("PROXY {line} {from} {to}\r\n").into_bytes()
}

/// A header of version 2 that carries `stream_id`, its text as the API shows it, as PP2_TYPE_UNIQUE_ID.
pub fn encode_v2(source: SocketAddr, destination: SocketAddr, stream_id: uuid::Uuid) -> Vec<u8> {
    let mut id = uuid::Uuid::encode_buffer();
    let id = stream_id.hyphenated().encode_lower(&mut id).as_bytes();
    let mut body = Vec::with_capacity(128);
    let family = match of_one_family(source, destination) {
        Family::V4(from, to) => {
            body.extend(from.octets());
            body.extend(to.octets());
            0x11
        }
        Family::V6(from, to) => {
            body.extend(from.octets());
            body.extend(to.octets());
            0x21
        }
    };
    body.extend(source.port().to_be_bytes());
    body.extend(destination.port().to_be_bytes());
    body.push(PP2_TYPE_UNIQUE_ID);
    body.extend((id.len() as u16).to_be_bytes());
    body.extend(id);

    let mut header = V2_SIGNATURE.to_vec();
    header.extend([0x21, family]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

enum Family {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// A header has one family for both ends. They differ when the client's address was named by another proxy: then IPv4
/// is written in its IPv6 form (RFC 4291 2.5.5.2).
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> Family {
    let v6 = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    match (canonical(source).ip(), canonical(destination).ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Family::V4(from, to),
        (from, to) => Family::V6(v6(from), v6(to)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const ID: uuid::Uuid = uuid::uuid!("01890a5d-ac96-774b-bcce-b302099a8057");

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ends(source: &str, destination: &str) -> Option<Addresses> {
        Some(Addresses {
            source: address(source),
            destination: address(destination),
        })
    }

    /// A header of version 2 by hand.
    fn v2(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([version_and_command, family]);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    }

    const V4_BODY: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xc8, 0x22, 0x01, 0xbb];

    #[test]
    fn version_1_is_read_as_the_specification_writes_it() {
        let cases: [(&[u8], _); 7] = [
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 51234 443\r\n",
                ends("192.0.2.1:51234", "198.51.100.1:443"),
            ),
            (
                b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                ends("255.255.255.255:65535", "255.255.255.255:65535"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 2001:db8::2 1 0\r\n",
                ends("[2001:db8::1]:1", "[2001:db8::2]:0"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 1 2\r\n",
                ends("192.0.2.1:1", "198.51.100.1:2"),
            ),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN whatever it likes\r\n", None),
            (
                b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
                None,
            ),
        ];
        for (line, expected) in cases {
            let text = String::from_utf8_lossy(line);
            assert_eq!(
                parse(line).unwrap(),
                Head::Complete(line.len(), expected),
                "{text}"
            );
        }
    }

    #[test]
    fn broken_lines_are_refused_and_never_repaired() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        let cases = [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1  2\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n\r\n",
            &long,
        ];
        for line in cases {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(
                matches!(error, ProxyProtocolError::Malformed(_)),
                "{line:?}"
            );
        }
    }

    #[test]
    fn anything_else_is_no_header() {
        let hello: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00];
        for input in [b"GET / HTTP/1.1\r\n", hello, b"proxy TCP4 ", b"\r\n\r\nGET"] {
            let error = parse(input).unwrap_err();
            assert!(matches!(error, ProxyProtocolError::Missing), "{input:?}");
        }
    }

    #[test]
    fn version_2_names_addresses_only_for_proxied_tcp() {
        let tcp4 = ends("192.0.2.1:51234", "198.51.100.1:443");
        let with_tlvs = [&V4_BODY[..], &[0x04, 0, 2, 0, 0]].concat();
        let unix = [0; 216];
        let cases = [
            (v2(0x21, 0x11, &V4_BODY), tcp4),
            (v2(0x21, 0x11, &with_tlvs), tcp4),
            (v2(0x20, 0x11, &V4_BODY), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x12, &V4_BODY), None),
            (v2(0x21, 0x31, &unix), None),
        ];
        for (header, expected) in cases {
            assert_eq!(
                parse(&header).unwrap(),
                Head::Complete(header.len(), expected),
                "{header:?}"
            );
        }
    }

    #[test]
    fn a_broken_header_of_version_2_is_refused() {
        let huge = [V2_SIGNATURE.as_slice(), &[0x21, 0x11, 0xff, 0xff]].concat();
        let cases = [
            v2(0x11, 0x11, &V4_BODY),
            v2(0x22, 0x11, &V4_BODY),
            v2(0x21, 0x41, &V4_BODY),
            v2(0x21, 0x11, &V4_BODY[..11]),
            v2(0x21, 0x21, &V4_BODY),
            huge,
        ];
        for header in cases {
            let error = parse(&header).unwrap_err();
            assert!(
                matches!(error, ProxyProtocolError::Malformed(_)),
                "{header:?}"
            );
        }
    }

    #[test]
    fn version_1_is_written_as_the_specification_says() {
        let cases = [
            (
                "192.0.2.1:51234",
                "198.51.100.1:443",
                "PROXY TCP4 192.0.2.1 198.51.100.1 51234 443\r\n",
            ),
            (
                "[2001:db8::1]:1",
                "[2001:db8::2]:2",
                "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n",
            ),
            (
                "192.0.2.1:1",
                "[2001:db8::2]:2",
                "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n",
            ),
        ];
        for (source, destination, line) in cases {
            let written = encode_v1(address(source), address(destination));
            assert_eq!(String::from_utf8(written).unwrap(), line);
        }
    }

    #[test]
    fn version_2_carries_the_stream_id() {
        let header = encode_v2(address("192.0.2.1:51234"), address("198.51.100.1:443"), ID);
        let tlv = [&[0x05, 0, 36], ID.to_string().as_bytes()].concat();
        assert_eq!(header, v2(0x21, 0x11, &[&V4_BODY[..], &tlv].concat()));
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| canonical(SocketAddr::new(ip, port)))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_every_prefix_is_incomplete(
            source in any_address(),
            destination in any_address(),
        ) {
            let expected = Some(Addresses { source, destination });
            for header in [encode_v1(source, destination), encode_v2(source, destination, ID)] {
                for length in 0..header.len() {
                    prop_assert_eq!(parse(&header[..length]).unwrap(), Head::Incomplete);
                }
                let followed = [&header[..], b"GET /\r\n"].concat();
                prop_assert_eq!(parse(&followed).unwrap(), Head::Complete(header.len(), expected));
            }
        }

        #[test]
        fn no_bytes_panic_or_reach_past_their_end(
            signature in prop_oneof![Just(&V2_SIGNATURE[..]), Just(V1_SIGNATURE), Just(&[][..])],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let input = [signature, &rest].concat();
            if let Ok(Head::Complete(length, _)) = parse(&input) {
                prop_assert!(length <= input.len());
            }
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = TcpStream::connect(listener.local_addr().unwrap());
        let (proxy, accepted) = tokio::join!(proxy, listener.accept());
        (proxy.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn not_a_byte_behind_the_header_is_taken() {
        let (source, destination) = (address("192.0.2.1:51234"), address("198.51.100.1:443"));
        for header in [
            encode_v1(source, destination),
            encode_v2(source, destination, ID),
        ] {
            let (mut proxy, mut accepted) = pair().await;
            proxy.write_all(&header).await.unwrap();
            proxy.write_all(b"hello").await.unwrap();
            let addresses = read(&mut accepted).await.unwrap();
            assert_eq!(
                addresses,
                Some(Addresses {
                    source,
                    destination
                })
            );
            drop(proxy);
            let mut rest = Vec::new();
            accepted.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"hello");
        }
    }

    #[tokio::test]
    async fn a_header_may_come_byte_by_byte() {
        let (source, destination) = (address("192.0.2.1:51234"), address("198.51.100.1:443"));
        for header in [
            encode_v1(source, destination),
            encode_v2(source, destination, ID),
        ] {
            let (mut proxy, accepted) = pair().await;
            let accepted = accepted.into_std().unwrap();
            let view = accepted.try_clone().unwrap();
            let mut accepted = TcpStream::from_std(accepted).unwrap();
            let mut reading = std::pin::pin!(read(&mut accepted));
            let (last, all_but_last) = header.split_last().unwrap();
            for byte in all_but_last {
                proxy.write_all(&[*byte]).await.unwrap();
                while view.peek(&mut [0]).is_ok() {
                    tokio::select! {
                        biased;
                        early = &mut reading => panic!("{early:?}"),
                        () = tokio::task::yield_now() => {}
                    }
                }
            }
            proxy.write_all(&[*last]).await.unwrap();
            assert!(reading.await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn an_end_within_the_header_is_an_error() {
        for start in [&b""[..], b"PROXY TCP4 192."] {
            let (mut proxy, mut accepted) = pair().await;
            proxy.write_all(start).await.unwrap();
            drop(proxy);
            let error = read(&mut accepted).await.unwrap_err();
            let ProxyProtocolError::Io(error) = error else {
                panic!("{error}");
            };
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn the_corpus_is_survived() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/proxy");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            fuzz::proxy(&std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert_eq!(files, 19);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz::proxy(&input);
            fuzz::proxy(&[V2_SIGNATURE, &input[..]].concat());
            fuzz::proxy(&[V1_SIGNATURE, &input[..]].concat());
        }
    }
}
