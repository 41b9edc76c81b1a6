//! Delivery against real receivers on the loopback.

use crate::proto::cause::{Cause, Reason};
use crate::registry::record::{
    Both, ClientRecord, ClosedRecord, OverdueRecord, PingRecord, StreamRecord, UpstreamRecord,
};

use super::*;

pub(super) fn opened(stream: u128, uid: Option<&str>) -> StreamRecord {
    let figures = Both {
        client: Some(12),
        upstream: Some(34),
    };
    StreamRecord {
        id: Uuid::from_u128(stream),
        listener: Arc::from("chat"),
        protocol: "wss",
        state: "open",
        uid: uid.map(str::to_owned),
        uid_source: uid.map(|_| "response_header"),
        tags: vec!["room:7".to_owned()],
        client: ClientRecord {
            address: "203.0.113.9:50122".parse().unwrap(),
            source: "socket",
        },
        upstream: UpstreamRecord {
            address: "127.0.0.1:8080".to_owned(),
            local_address: Some("127.0.0.1:40000".to_owned()),
        },
        host: Some("chat.example.com".to_owned()),
        path: Some("/ws".to_owned()),
        subprotocol: None,
        user_agent: None,
        opened_at: "2026-11-21T09:12:00.120Z".to_owned(),
        last_client_at: Some("2026-11-21T09:12:00.120Z".to_owned()),
        last_upstream_at: None,
        idle_ms: Some(0),
        deadline_at: None,
        deadline_reason: None,
        bytes: figures,
        messages: figures,
        pings: PingRecord {
            sent: Some(1),
            answered: Some(1),
            rtt_ms: Some(0.5),
        },
    }
}

pub(super) fn closed(stream: u128, uid: Option<&str>) -> ClosedRecord {
    let cause = Cause::new(Reason::ClientIdle);
    ClosedRecord {
        stream: opened(stream, uid),
        closed_at: "2026-11-21T09:30:55.003Z".to_owned(),
        duration_ms: 1_134_883,
        reason: cause.reason.as_str(),
        by: cause.by.as_str(),
        close_code: cause.code,
        close_reason: None,
        detail: None,
        idle_limit_ms: Some(55_000),
        lateness_ms: Some(0.8),
        uid_streams_left: uid.map(|_| 0),
        cause,
    }
}

pub(super) fn overdue(stream: u128, uid: Option<&str>) -> OverdueRecord {
    OverdueRecord {
        stream: opened(stream, uid),
        reason: Reason::ClientIdle,
        idle_limit_ms: Some(55_000),
    }
}
