//! Who ended a stream, why, and with which close code: one enum feeds log, metric, close code and event.

use std::borrow::Cow;

/// Which of the two ends of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The connection that was accepted.
    Client,
    /// The connection that was dialed to the app.
    Upstream,
}

impl End {
    /// Both ends, client first.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Upstream];

    /// The opposite end.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }

    /// The word used in labels and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        }
    }
}

/// Who ended a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The client.
    Client,
    /// The app.
    Upstream,
    /// sidebeat itself.
    Sidecar,
    /// A call of the admin API.
    Admin,
}

impl By {
    /// The word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Sidecar => "sidecar",
            Self::Admin => "admin",
        }
    }
}

/// Declares an enum of words together with the list of all of them, so that a metric can be created for each.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of declaration; `variant as usize` is its place.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word used in metrics, events and logs.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// Why a stream ended.
    Reason {
        /// The client sent Close (ws) or both sides sent FIN, the client first (tcp).
        ClientClose = "client_close",
        /// The app sent Close (ws) or both sides sent FIN, the app first (tcp).
        UpstreamClose = "upstream_close",
        /// The client vanished: reset, FIN without Close, TLS end without close_notify, keepalive.
        ClientGone = "client_gone",
        /// The app vanished in one of the same ways.
        UpstreamGone = "upstream_gone",
        /// Nothing was heard from the client for `idle_limit`.
        ClientIdle = "client_idle",
        /// No data message in either direction for `quiet_limit`.
        Quiet = "quiet",
        /// The client's first message did not come within `first_message_limit`.
        NoFirstMessage = "no_first_message",
        /// The stream reached its drawn `max_age`.
        MaxAge = "max_age",
        /// Bytes waited for the client for `stall_limit` and it took none.
        ClientStalled = "client_stalled",
        /// Nothing was heard from the app for `upstream_idle_limit`.
        UpstreamIdle = "upstream_idle",
        /// Bytes waited for the app for `stall_limit` and it took none.
        UpstreamStalled = "upstream_stalled",
        /// One side sent FIN and the other was silent for `half_close_limit`.
        HalfCloseTimeout = "half_close_timeout",
        /// One side broke the protocol; `detail` says which and how.
        ProtocolError = "protocol_error",
        /// A message was larger than the listener allows.
        MessageTooBig = "message_too_big",
        /// Closed by the admin API.
        AdminClose = "admin_close",
        /// Closed by a drain.
        Drain = "drain",
        /// The process died; reported by the next one.
        SidecarCrash = "sidecar_crash",
        /// A fault of sidebeat itself.
        InternalError = "internal_error",
    }
}

words! {
    /// Why a connection was refused before it became a stream.
    Rejection {
        /// Head, PROXY header or TLS handshake not complete in time.
        HandshakeTimeout = "handshake_timeout",
        /// The TLS handshake failed.
        TlsError = "tls_error",
        /// The PROXY protocol header was missing or malformed.
        ProxyProtocolError = "proxy_protocol_error",
        /// The HTTP request was malformed or not acceptable.
        BadRequest = "bad_request",
        /// `limits.streams` reached.
        TooManyStreams = "too_many_streams",
        /// `limits.streams_per_ip` reached.
        TooManyStreamsPerIp = "too_many_streams_per_ip",
        /// `limits.opens_per_second` or its per-address form reached.
        RateLimited = "rate_limited",
        /// No connection to the app within `connect_timeout`.
        UpstreamUnreachable = "upstream_unreachable",
        /// No answer of the app within `answer_timeout`.
        UpstreamTimeout = "upstream_timeout",
        /// The app answered something other than 101.
        UpstreamRefused = "upstream_refused",
        /// The app's answer was not a valid 101 for this request.
        UpstreamProtocolError = "upstream_protocol_error",
        /// A drain is under way.
        Draining = "draining",
    }
}

/// The one cause of a stream's end; the first one fixed decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Why.
    pub reason: Reason,
    /// By whom.
    pub by: By,
    /// The WebSocket close code that the client gets or that the peer sent; `None` on raw TCP and where no Close was sent.
    pub code: Option<u16>,
    /// The text of the Close frame; for our own it is the reason word unless an admin asked for another.
    pub text: Cow<'static, str>,
    /// Free text for people; never a label.
    pub detail: Option<Cow<'static, str>>,
}

impl Cause {
    /// A cause with the author and the code that the table of reasons gives it.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            by: reason.by(),
            code: reason.code(),
            text: Cow::Borrowed(reason.as_str()),
            detail: None,
        }
    }

    /// The same cause with a sentence of evidence.
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same cause with another close code (a drain's, an admin's, a peer's own).
    pub fn with_code(mut self, code: Option<u16>) -> Self {
        self.code = code;
        self
    }
}

impl Reason {
    /// Who ends a stream for this reason.
    pub fn by(self) -> By {
        match self {
            Self::ClientClose | Self::ClientGone => By::Client,
            Self::UpstreamClose | Self::UpstreamGone => By::Upstream,
            Self::AdminClose => By::Admin,
            Self::ClientIdle
            | Self::Quiet
            | Self::NoFirstMessage
            | Self::MaxAge
            | Self::ClientStalled
            | Self::UpstreamIdle
            | Self::UpstreamStalled
            | Self::HalfCloseTimeout
            | Self::ProtocolError
            | Self::MessageTooBig
            | Self::Drain
            | Self::SidecarCrash
            | Self::InternalError => By::Sidecar,
        }
    }

    /// The WebSocket close code that the client gets (RFC 6455 section 7.4.1), `None` where it gets no Close of ours.
    pub fn code(self) -> Option<u16> {
        match self {
            Self::ClientClose
            | Self::UpstreamClose
            | Self::ClientGone
            | Self::HalfCloseTimeout
            | Self::SidecarCrash => None,
            Self::UpstreamGone
            | Self::ClientIdle
            | Self::Quiet
            | Self::NoFirstMessage
            | Self::MaxAge
            | Self::ClientStalled
            | Self::UpstreamIdle
            | Self::UpstreamStalled => Some(1001),
            Self::ProtocolError => Some(1002),
            Self::MessageTooBig => Some(1009),
            Self::AdminClose => Some(1008),
            Self::Drain => Some(1012),
            Self::InternalError => Some(1011),
        }
    }
}

#[cfg(test)]
mod tests;
