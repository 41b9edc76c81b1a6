//! What can be wrong with a configured hook.

use std::path::PathBuf;

use super::log::LogError;
use super::sign::SecretError;

/// Why the hooks of a configuration cannot be started; nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// A file is missing or not readable.
    #[error("hook {hook}: cannot read {path}: {source}")]
    Read {
        /// Its name in the configuration.
        hook: String,
        /// As configured.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The secret file holds no usable key.
    #[error("hook {hook}: secret_file {path}: {source}")]
    Secret {
        /// Its name in the configuration.
        hook: String,
        /// As configured.
        path: PathBuf,
        /// Which line, and what to write there.
        source: SecretError,
    },
    /// The token file is empty or holds more than a token.
    #[error("hook {hook}: bearer_token_file {path} must hold one token of printable ASCII")]
    Token {
        /// Its name in the configuration.
        hook: String,
        /// As configured.
        path: PathBuf,
    },
    /// The CA file holds no usable certificate.
    #[error("hook {hook}: ca {path}: {why}; write the CA's certificate in PEM")]
    Ca {
        /// Its name in the configuration.
        hook: String,
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There are no system roots and no `ca` is set.
    #[error("hook {hook}: the system has no root certificates: install them or set `ca`")]
    NoRoots {
        /// Its name in the configuration.
        hook: String,
    },
    /// The URL cannot be used.
    #[error("hook {hook}: url {url} cannot be used: write http:// or https://, a host and a path")]
    Url {
        /// Its name in the configuration.
        hook: String,
        /// Without userinfo and query.
        url: String,
    },
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl HookError {
    /// Whether the system or another process is in the way, and not the configuration or what its files hold.
    pub fn is_system(&self) -> bool {
        match self {
            Self::Log(error) => error.is_system(),
            Self::Read { .. }
            | Self::Secret { .. }
            | Self::Token { .. }
            | Self::Ca { .. }
            | Self::NoRoots { .. }
            | Self::Url { .. } => false,
        }
    }
}
