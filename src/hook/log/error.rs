//! Why the log cannot be used.

use std::path::PathBuf;

/// Why a process does not start with this `state_dir`; nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process uses it.
    #[error(
        "state_dir {path}: another process uses it: give each process a directory of its own, or end that one first"
    )]
    Locked {
        /// As configured.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("state_dir {path}: cannot {what}: {source}")]
    System {
        /// As configured.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{path} is no hook log of sidebeat: move it away or write another state_dir")]
    NotALog {
        /// The log.
        path: PathBuf,
    },
    /// The file is of another version of sidebeat.
    #[error(
        "{path} has the format version {version}, and this program knows only {known}: start the version that wrote it \
         until it has delivered everything, or move the file away and lose the events in it"
    )]
    Version {
        /// The log.
        path: PathBuf,
        /// As written in its head.
        version: String,
        /// What this program writes.
        known: u32,
    },
}

impl LogError {
    /// Whether the system or another process is in the way, and not the configuration or what the directory holds.
    pub fn is_system(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::System { .. } => true,
            Self::NotALog { .. } | Self::Version { .. } => false,
        }
    }
}
