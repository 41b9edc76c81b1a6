//! A running sidebeat, the app behind it and a client before it, as the tests see them: from outside.

pub(crate) mod app;
pub(crate) mod case;
pub(crate) mod http;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// No wait of a test is longer: whatever takes longer on a busy machine will not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A process of the real binary; it ends with this value.
pub(crate) struct Sidebeat {
    child: Child,
    told: Arc<Told>,
    _files: tempfile::TempDir,
}

/// What it has logged.
#[derive(Default)]
struct Told {
    lines: Mutex<Vec<serde_json::Value>>,
    changed: Condvar,
}

/// What a listener counted, by reason.
pub(crate) type Rejected = BTreeMap<String, u64>;

impl Sidebeat {
    /// Runs it with this configuration.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_sidebeat")), config)
    }

    /// Runs another build of it.
    pub(crate) fn start_build(binary: &OsStr, config: &str) -> Self {
        Self::start_by(Command::new(binary), config)
    }

    /// Runs it with so many file descriptors and no more.
    pub(crate) fn start_with_descriptors(count: usize, config: &str) -> Self {
        let mut command = Command::new("sh");
        let binary = env!("CARGO_BIN_EXE_sidebeat");
        let script = format!("ulimit -Sn 40 && ulimit -Hn {count} && exec {binary} \"$@\"");
        command.args(["-c", &script, "sh"]);
        Self::start_by(command, config)
    }

    fn start_by(mut command: Command, config: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("sidebeat.yaml");
        std::fs::write(&path, config).unwrap();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SIDEBEAT_") {
                command.env_remove(name);
            }
        }
        command
            .args(["run", "-c"])
            .arg(&path)
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let told = Arc::<Told>::default();
        let (writer, stdout) = (Arc::clone(&told), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            // A process that is killed may leave half a line.
            while stdout.read_line(&mut line).is_ok() && line.ends_with('\n') {
                let line = serde_json::from_str(&std::mem::take(&mut line)).unwrap();
                writer.lines.lock().unwrap().push(line);
                writer.changed.notify_all();
            }
        });
        Self {
            child,
            told,
            _files: files,
        }
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of the log.
    pub(crate) fn line(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let lines = self.told.lines.lock().unwrap();
        let missing = |lines: &mut Vec<serde_json::Value>| !lines.iter().any(&wanted);
        let (lines, _) = self
            .told
            .changed
            .wait_timeout_while(lines, PATIENCE, missing)
            .unwrap();
        let line = lines.iter().find(|line| wanted(line));
        line.unwrap_or_else(|| panic!("no such line in {lines:#?}"))
            .clone()
    }

    /// Where a listener, `telemetry` or `admin` listens.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let line = self.line(|line| line["message"] == "listening" && line["listener"] == listener);
        let url = line["address"].as_str().unwrap();
        url.split_once("://").unwrap().1.parse().unwrap()
    }

    /// A connection of a client.
    pub(crate) fn connect(&self, listener: &str) -> TcpStream {
        let stream = TcpStream::connect(self.address(listener)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// All metrics as text.
    pub(crate) fn metrics(&self) -> String {
        self.get("telemetry", "/metrics")
    }

    /// The body of an answer of `telemetry` or `admin`.
    pub(crate) fn get(&self, plane: &str, path: &str) -> String {
        let mut stream = self.connect(plane);
        let host = self.address(plane);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        http::Answer::read(&mut answer.as_bytes(), http::Method::Get).text()
    }

    /// The value of one series, labels as the exposition writes them.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let metrics = self.metrics();
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {series} in {metrics}"));
        value.parse::<f64>().unwrap() as u64
    }

    /// What of `listener` was refused so far; reasons without a count are left out.
    pub(crate) fn rejected(&self, listener: &str) -> Rejected {
        let prefix =
            format!("sidebeat_connections_rejected_total{{listener=\"{listener}\",reason=\"");
        let metrics = self.metrics();
        let counts = metrics.lines().filter_map(|line| {
            let (reason, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            Some((reason.to_owned(), count.parse::<f64>().unwrap() as u64))
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Drop for Sidebeat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `holds`.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
