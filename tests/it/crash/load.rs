//! A thousand clients a second, each for a moment, and the app that they talk to.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Client, Opened, Shared};

/// The example of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The clients and the app.
pub(super) struct Load {
    pub(super) app: SocketAddr,
    seen: Shared<HashSet<String>>,
    opened: Shared<Opened>,
    /// The boot and where it listens.
    target: watch::Sender<Option<(usize, SocketAddr)>>,
}

impl Load {
    /// With so many clients every ten milliseconds.
    pub(super) async fn start(count: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (target, targets) = watch::channel(None);
        let load = Self {
            app: listener.local_addr().unwrap(),
            seen: Shared::default(),
            opened: Shared::default(),
            target,
        };
        let seen = load.seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, seen.clone()));
            }
        });
        tokio::spawn(clients(count, targets, load.opened.clone()));
        load
    }

    /// From now on clients go to this address.
    pub(super) fn begin(&self, boot: usize, address: SocketAddr) {
        self.target.send_replace(Some((boot, address)));
    }

    pub(super) fn end(&self) {
        self.target.send_replace(None);
    }

    /// The streams that the app saw.
    pub(super) fn seen(&self) -> HashSet<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The streams whose client got its answer.
    pub(super) fn opened(&self) -> Opened {
        self.opened.lock().unwrap().clone()
    }
}

/// Reads a head of HTTP, behind which nothing comes; `None` if it does not come.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8(head).unwrap())
}

fn header(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_owned())
}

/// The app: takes every opening, says the stream's id to the client, and ends one stream in three itself.
async fn serve(mut stream: TcpStream, seen: Shared<HashSet<String>>) {
    let Some(head) = head(&mut stream).await else {
        return;
    };
    let id = header(&head, "sidebeat-stream-id").unwrap();
    assert!(seen.lock().unwrap().insert(id.clone()), "{id} came twice");
    let uid = match rand::random_range(0..2_000) {
        user @ 0..200 => format!("sidebeat-uid: {user}\r\n"),
        _ => String::new(),
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\nx-stream: {id}\r\n{uid}\r\n"
    );
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    let listen = async {
        let mut bytes = [0; 64];
        while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    };
    if rand::random_range(0..3) == 0 {
        let moment = Duration::from_millis(rand::random_range(0..400));
        let _ = tokio::time::timeout(moment, listen).await;
    } else {
        listen.await;
    }
}

async fn clients(
    count: usize,
    target: watch::Receiver<Option<(usize, SocketAddr)>>,
    opened: Shared<Opened>,
) {
    let mut tick = interval(Duration::from_millis(10));
    // What a busy machine misses is made up for: the rate is the promise.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tick.tick().await;
        let Some((boot, address)) = *target.borrow() else {
            continue;
        };
        for _ in 0..count {
            let opened = opened.clone();
            tokio::spawn(async move {
                // While no process listens there is nothing to learn.
                if let Ok(stream) = TcpStream::connect(address).await {
                    client(stream, boot, opened).await;
                }
            });
        }
    }
}

async fn client(mut stream: TcpStream, boot: usize, opened: Shared<Opened>) {
    let begun = Instant::now();
    let request = format!(
        "GET /chat HTTP/1.1\r\nHost: chat\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    if stream.write_all(request.as_bytes()).await.is_err() {
        return;
    }
    let Some(head) = head(&mut stream).await else {
        return;
    };
    if let Some(id) = header(&head, "x-stream") {
        let client = Client {
            boot,
            begun,
            answered: Instant::now(),
        };
        opened.lock().unwrap().insert(id, client);
        sleep(Duration::from_millis(rand::random_range(0..400))).await;
    }
}
