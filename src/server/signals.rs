//! Signals: SIGTERM and SIGINT end the process by a drain, SIGHUP reloads.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that steer the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) -> Option<SignalKind> {
        tokio::select! {
            got = self.terminate.recv() => got.map(|()| SignalKind::terminate()),
            got = self.interrupt.recv() => got.map(|()| SignalKind::interrupt()),
            got = self.hangup.recv() => got.map(|()| SignalKind::hangup()),
        }
    }
}
