//! Connections that are no streams: slow ones push out slow ones and keep nobody waiting.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::*;
use crate::support::PATIENCE;

/// Clients that begin and then send a byte now and then.
struct Drips {
    streams: Vec<TcpStream>,
    bytes: &'static [u8],
    sent: usize,
}

impl Drips {
    fn start(sidebeat: &Sidebeat, listener: &str, count: usize, bytes: &'static [u8]) -> Self {
        let streams = (0..count).map(|_| sidebeat.connect(listener)).collect();
        let mut drips = Self {
            streams,
            bytes,
            sent: 0,
        };
        drips.drip();
        drips
    }

    fn drip(&mut self) {
        let byte = &self.bytes[self.sent % self.bytes.len()..][..1];
        self.sent += 1;
        for stream in &mut self.streams {
            // Those that were given up may be closed.
            let _ = stream.write(byte);
        }
    }
}

const CLIENT_HELLO: &[u8] =
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

struct Secure {
    config: Arc<rustls::ClientConfig>,
    files: tempfile::TempDir,
}

impl Secure {
    fn new() -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("tls.crt"), pair.cert.pem()).unwrap();
        std::fs::write(
            files.path().join("tls.key"),
            pair.signing_key.serialize_pem(),
        )
        .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pair.cert.der().clone()).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            config: Arc::new(config),
            files,
        }
    }

    fn yaml(&self) -> String {
        let folder = self.files.path().display();
        format!("tls: {{ certificates: [ {{ cert: {folder}/tls.crt, key: {folder}/tls.key }} ] }}")
    }

    fn open(&self, sidebeat: &Sidebeat, listener: &str) -> u16 {
        let name = ServerName::try_from("localhost").unwrap();
        let session = rustls::ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(session, sidebeat.connect(listener));
        stream
            .write_all(format!("{OPENING}\r\n").as_bytes())
            .unwrap();
        Answer::read(&mut stream, Method::Get).status
    }
}

/// A connection from another address of this machine.
fn connect_from(source: [u8; 4], sidebeat: &Sidebeat, listener: &str) -> TcpStream {
    let kind = socket2::Type::STREAM;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&sidebeat.address(listener).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

#[test]
fn one_address_that_fills_the_lobby_pushes_out_its_own() {
    let sidebeat = Sidebeat::start_with_descriptors(
        400,
        &config(&format!(
            "  main: {{ listen: ws://127.0.0.1:0, upstream: ws://{}, limits: {{ handshake_timeout: 120s }} }}",
            app()
        )),
    );
    let (first, second) = OPENING.split_at(20);
    // On both workers.
    let mut patient: Vec<_> = (0..20)
        .map(|_| connect_from([127, 0, 0, 3], &sidebeat, "main"))
        .collect();
    for stream in &mut patient {
        stream.write_all(first.as_bytes()).unwrap();
    }
    let accepted = "sidebeat_connections_accepted_total{listener=\"main\"}";
    wait_until("they are guests", || sidebeat.metric(accepted) == 20);
    let hasty: Vec<_> = (0..1000)
        .map(|_| connect_from([127, 0, 0, 2], &sidebeat, "main"))
        .collect();
    wait_until("all have come", || sidebeat.metric(accepted) == 1020);
    let gone = rejected(&sidebeat, "main", "handshake_timeout");
    assert!(gone > 500, "the lobby was never full: {gone}");
    for stream in &mut patient {
        write!(stream, "{second}\r\n").unwrap();
        assert_eq!(Answer::read(stream, Method::Get).status, 101);
    }
    drop(hasty);
}

/// `SIDEBEAT_TEST_SLOW=2000`: so many of each kind.
#[test]
fn slow_clients_by_the_thousand_do_not_keep_a_good_one_waiting() {
    let slow: usize =
        std::env::var("SIDEBEAT_TEST_SLOW").map_or(500, |count| count.parse().unwrap());
    let secure = Secure::new();
    let sidebeat = Sidebeat::start_with_descriptors(
        3 * slow,
        &config(&format!(
            "  ws: {{ listen: ws://127.0.0.1:0, upstream: ws://{0} }}
  wss: {{ listen: wss://127.0.0.1:0, upstream: ws://{0}, {1} }}",
            app(),
            secure.yaml()
        )),
    );
    let slowest = || {
        let began = Instant::now();
        assert_eq!(open(&sidebeat, "ws").1.status, 101);
        let plain = began.elapsed();
        assert_eq!(secure.open(&sidebeat, "wss"), 101);
        plain.max(began.elapsed() - plain)
    };
    // On a machine that is busy with other things an opening takes its time without anybody else, too.
    let alone = (0..5).map(|_| slowest()).max().unwrap();
    let limit = Duration::from_secs(1).max(alone * 5);
    let mut hellos = Drips::start(&sidebeat, "wss", slow, CLIENT_HELLO);
    let mut heads = Drips::start(&sidebeat, "ws", slow, OPENING.as_bytes());
    let frames = (0..slow).map(|_| {
        let (stream, answer) = open(&sidebeat, "ws");
        assert_eq!(answer.status, 101, "slow heads keep others out");
        stream
    });
    let mut frames = Drips {
        streams: frames.collect(),
        bytes: b"\x82\xfe\xff\xff\0\0\0\0x",
        sent: 0,
    };
    for _ in 0..5 {
        for slow in [&mut hellos, &mut heads, &mut frames] {
            slow.drip();
        }
        let took = slowest();
        assert!(took < limit, "{took:?}, {alone:?} alone");
    }
    assert!(rejected(&sidebeat, "wss", "handshake_timeout") > 0);
    assert!(rejected(&sidebeat, "ws", "handshake_timeout") > 0);
    let active = sidebeat.metric("sidebeat_streams_active{listener=\"ws\"}");
    assert!(
        active as usize >= slow,
        "slow frames are streams like others: {active}"
    );
}
