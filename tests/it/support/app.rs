//! An app that says what it is told to say and remembers what it heard.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::PATIENCE;

/// What it does on each connection.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// It answers when it has heard this; empty: at once.
    pub(crate) after: Vec<u8>,
    pub(crate) answer: Vec<u8>,
    pub(crate) then: Then,
}

/// What it does behind its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It listens until the other side ends.
    Listen,
    /// It ends its side, and listens.
    Shutdown,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            after: b"\r\n\r\n".to_vec(),
            answer: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
            then: Then::Listen,
        }
    }
}

/// A running app.
pub(crate) struct App {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    script: Mutex<Script>,
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    accepted: usize,
    ended: Vec<Vec<u8>>,
    marks: usize,
}

/// The first byte of a connection of our own.
const MARK: u8 = 0xff;

impl App {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serving.heard.lock().unwrap().accepted += 1;
                let (state, stream) = (Arc::clone(&serving), stream.unwrap());
                std::thread::spawn(move || serve(&state, stream));
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says from now on.
    pub(crate) fn set(&self, script: Script) {
        *self.state.script.lock().unwrap() = script;
    }

    /// What it heard on each connection since the last call, all of them ended.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        // Connections are accepted in their order: behind ours there is none that was made before.
        TcpStream::connect(self.address)
            .unwrap()
            .write_all(&[MARK])
            .unwrap();
        let heard = self.state.heard.lock().unwrap();
        let waiting =
            |heard: &mut Heard| heard.marks == 0 || heard.accepted > heard.ended.len() + 1;
        let (mut heard, timeout) = self
            .state
            .changed
            .wait_timeout_while(heard, PATIENCE, waiting)
            .unwrap();
        assert!(!timeout.timed_out(), "a connection to the app does not end");
        (heard.accepted, heard.marks) = (0, 0);
        std::mem::take(&mut heard.ended)
    }
}

fn serve(state: &State, mut stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let script = state.script.lock().unwrap().clone();
    let mut heard = Vec::new();
    let contains = |heard: &[u8]| {
        script.after.is_empty()
            || heard
                .windows(script.after.len())
                .any(|part| part == script.after)
    };
    let mut open = true;
    while open && !contains(&heard) {
        open = read_some(&mut stream, &mut heard);
    }
    if heard.first() == Some(&MARK) {
        state.heard.lock().unwrap().marks += 1;
        state.changed.notify_all();
        return;
    }
    if open {
        // A proxy that does not want the answer has closed already.
        let _ = stream.write_all(&script.answer);
        if script.then == Then::Shutdown {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
    while open {
        open = read_some(&mut stream, &mut heard);
    }
    state.heard.lock().unwrap().ended.push(heard);
    state.changed.notify_all();
}

fn read_some(stream: &mut TcpStream, heard: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            heard.extend_from_slice(&buffer[..count]);
            true
        }
    }
}

/// An app of a test's own: what it does with each connection.
pub(crate) fn serve_each(each: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (each, stream) = (each.clone(), stream.unwrap());
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
                .set_write_timeout(Some(PATIENCE + Duration::from_secs(5)))
                .unwrap();
            std::thread::spawn(move || each(stream));
        }
    });
    address
}
