//! What a listener needs of files.

use std::sync::Arc;

use crate::config::{self, Protocol};
use crate::net::tls::{Alpn, ServerTls, TlsError};
use crate::net::upstream::Dialer;
use crate::stream;

/// A listener's configuration and files, read and checked: a reload makes all of it before it puts any of it to use.
pub struct Loaded {
    pub(super) config: Arc<config::Listener>,
    pub(super) dialer: Dialer,
}

impl Loaded {
    /// Reads the files for the way to the app.
    pub fn read(config: &Arc<config::Listener>) -> Result<Self, TlsError> {
        let user_timeout = stream::user_timeout(&config.heartbeat);
        let dialer = Dialer::new(
            &config.upstream,
            alpn(config),
            config.connect_timeout,
            user_timeout,
        )?;
        Ok(Self {
            config: Arc::clone(config),
            dialer,
        })
    }
}

/// Reads every file of a listener and forgets it.
pub fn check(config: &config::Listener) -> Result<(), TlsError> {
    let tls = config
        .tls
        .as_ref()
        .map(|tls| ServerTls::load(tls, alpn(config)));
    tls.transpose()?;
    Dialer::new(&config.upstream, alpn(config), config.connect_timeout, None).map(drop)
}

pub(super) fn alpn(config: &config::Listener) -> Alpn {
    match config.protocol {
        Protocol::Ws | Protocol::Wss => Alpn::Http11,
        Protocol::Tcp | Protocol::Tls => Alpn::None,
    }
}
