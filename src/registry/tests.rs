//! The registry over entries without sockets.

mod figures;
mod selecting;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use uuid::Uuid;

use super::record::{ClosedRecord, Ended, Evidence};
use super::*;
use crate::config::Protocol;
use crate::net::upstream::Address;
use crate::proto::cause::{Cause, End, Reason};
use crate::worker::Home;

const NOBODY: [Uuid; 0] = [];

/// An open stream of this uid with these tags.
pub(crate) fn entry(listener: &str, client: &str, uid: Option<&str>, tags: &[&str]) -> Arc<Entry> {
    let opening = Opening {
        listener: listener.into(),
        protocol: Protocol::Ws,
        client: client.parse().unwrap(),
        client_source: ClientSource::Socket,
        upstream: Address::Ip(([127, 0, 0, 1], 8080).into()),
        upstream_local: Some(([127, 0, 0, 1], 40_000).into()),
        host: None,
        path: Some("/chat".into()),
        subprotocol: None,
        user_agent: None,
        at: SystemTime::now(),
        instant: Instant::now(),
    };
    let identity = Identity {
        uid: uid.map(Into::into),
        uid_source: uid.map(|_| UidSource::Query),
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
    };
    let home = Home { worker: 0, slot: 0 };
    Entry::new(Uuid::now_v7(), home, opening, identity)
}

/// Ends a stream; returns how many of its uid are left.
pub(crate) fn end(registry: &Registry, entry: &Entry, evidence: Evidence) -> Option<usize> {
    let mut uid_streams_left = None;
    registry.leave(entry, |left| {
        uid_streams_left = left;
        let cause = Cause::new(Reason::ClientIdle);
        let record = ClosedRecord {
            stream: entry.record(),
            closed_at: "2026-01-01T00:00:55.003Z".to_owned(),
            duration_ms: 55_003,
            reason: cause.reason.as_str(),
            by: cause.by.as_str(),
            close_code: cause.code,
            close_reason: None,
            detail: None,
            idle_limit_ms: Some(55_000),
            lateness_ms: Some(3.2),
            uid_streams_left: left,
            cause,
        };
        let record = Arc::new(record);
        Ended { record, evidence }
    });
    uid_streams_left
}

fn simple(uid: Option<&str>, tags: &[&str]) -> Arc<Entry> {
    entry("chat", "192.0.2.1:1", uid, tags)
}

fn enter(registry: &Registry, entry: Arc<Entry>) -> Arc<Entry> {
    registry.enter(Arc::clone(&entry), || {});
    entry
}

fn selector(parameters: &[(&str, &str)]) -> Selector {
    let mut selector = Selector::default();
    for (name, value) in parameters {
        selector.set(name, value).unwrap();
    }
    selector
}

fn found(registry: &Registry, parameters: &[(&str, &str)]) -> Vec<Uuid> {
    let selector = selector(parameters);
    let ids: Vec<_> = registry
        .select(&selector)
        .iter()
        .map(|entry| entry.id)
        .collect();
    assert_eq!(registry.count(&selector), ids.len(), "{parameters:?}");
    ids
}

#[test]
fn a_change_of_identity_is_a_change_of_the_indexes() {
    let registry = Registry::default();
    let stream = enter(&registry, simple(Some("1"), &["a", "b"]));
    let other = enter(&registry, simple(Some("1"), &[]));
    let word = |word: &str| -> Box<str> { word.into() };
    let change = Rebind {
        uid: Some(Some(word("2"))),
        add_tags: vec![word("c"), word("a")],
        remove_tags: vec![word("b"), word("z")],
        ..Rebind::default()
    };
    assert!(matches!(
        registry.rebind(stream.id, &change),
        Rebound::Done(_)
    ));
    let identity = stream.identity();
    assert_eq!(identity.tags, [word("a"), word("c")]);
    assert_eq!(
        (identity.uid, identity.uid_source),
        (Some(word("2")), Some(UidSource::Api))
    );
    assert_eq!(found(&registry, &[("uid", "1")]), [other.id]);
    assert_eq!(found(&registry, &[("uid", "2"), ("tag", "c")]), [stream.id]);
    assert_eq!(found(&registry, &[("tag", "b")]), NOBODY);

    let unbind = Rebind {
        uid: Some(None),
        tags: Some(vec![word("d")]),
        ..Rebind::default()
    };
    registry.rebind(stream.id, &unbind);
    let identity = stream.identity();
    assert_eq!(
        (identity.uid, identity.uid_source, identity.tags),
        (None, None, vec![word("d")])
    );
    assert_eq!(end(&registry, &stream, Evidence::default()), None);
    assert_eq!(end(&registry, &other, Evidence::default()), Some(0));
    assert!(matches!(registry.rebind(stream.id, &unbind), Rebound::Gone));
    assert_eq!(found(&registry, &[("tag", "d")]), NOBODY);
}

#[test]
fn a_stream_has_at_most_so_many_tags() {
    let registry = Registry::default();
    let stream = enter(&registry, simple(None, &["kept"]));
    let tags = |count: usize| (0..count).map(|n| n.to_string().into()).collect();
    let too_many = Rebind {
        add_tags: tags(TAGS_MAX),
        ..Rebind::default()
    };
    assert!(matches!(
        registry.rebind(stream.id, &too_many),
        Rebound::TooManyTags
    ));
    assert_eq!(
        stream.identity().tags,
        ["kept".into()],
        "nothing is changed"
    );
    let instead = Rebind {
        tags: Some(tags(TAGS_MAX)),
        ..Rebind::default()
    };
    assert!(matches!(
        registry.rebind(stream.id, &instead),
        Rebound::Done(_)
    ));
}

#[test]
fn what_the_api_binds_beats_the_first_message() {
    let registry = Registry::default();
    let asked = enter(&registry, simple(Some("query"), &[]));
    registry.bind_first_message(asked.id, "message");
    assert_eq!(found(&registry, &[("uid", "message")]), [asked.id]);
    let uid = Some(Some("api".into()));
    registry.rebind(
        asked.id,
        &Rebind {
            uid,
            ..Rebind::default()
        },
    );
    registry.bind_first_message(asked.id, "message");
    assert_eq!(found(&registry, &[("uid", "api")]), [asked.id]);
}

#[test]
fn the_streams_left_of_a_uid_are_counted_at_the_end() {
    let registry = Registry::default();
    let streams: Vec<_> = (0..3)
        .map(|_| enter(&registry, simple(Some("42"), &[])))
        .collect();
    let left: Vec<_> = streams
        .iter()
        .map(|stream| end(&registry, stream, Evidence::default()))
        .collect();
    assert_eq!(left, [Some(2), Some(1), Some(0)]);
    assert_eq!(
        end(&registry, &streams[0], Evidence::default()),
        None,
        "it leaves once"
    );
}

#[test]
fn the_last_thousand_ends_are_remembered() {
    let registry = Registry::default();
    let ids: Vec<_> = (0..1001)
        .map(|_| {
            let stream = enter(&registry, simple(None, &[]));
            end(&registry, &stream, Evidence::default());
            stream.id
        })
        .collect();
    let closed = registry.closed();
    assert_eq!(
        (closed.len(), closed[0].record.stream.id),
        (1000, ids[1000])
    );
    assert!(registry.ended(ids[0]).is_none() && registry.get(ids[1]).is_none());
    assert_eq!(registry.ended(ids[1]).unwrap().record.stream.id, ids[1]);
}

#[tokio::test]
async fn whoever_watches_is_told_in_order() {
    let registry = Registry::default();
    enter(&registry, simple(None, &[]));
    let mut watch = registry.feed.watch(1).unwrap();
    assert!(registry.feed.watch(1).is_none(), "no more than asked");
    let stream = enter(&registry, simple(None, &[]));
    registry.rebind(stream.id, &Rebind::default());
    end(&registry, &stream, Evidence::default());
    let mut told = Vec::new();
    for _ in 0..3 {
        let (_, happening) = watch.next().await.unwrap().unwrap();
        told.push(match happening {
            Happening::Opened(record) => ("opened", record.id),
            Happening::Bound(record) => ("bound", record.id),
            Happening::Closed(ended) => ("closed", ended.record.stream.id),
            Happening::Overdue(_) | Happening::Pong(_) => panic!("nothing of it happened"),
        });
    }
    assert_eq!(
        told,
        [
            ("opened", stream.id),
            ("bound", stream.id),
            ("closed", stream.id)
        ]
    );
    for _ in 0..5000 {
        registry.rebind(enter(&registry, simple(None, &[])).id, &Rebind::default());
    }
    assert!(
        matches!(watch.next().await, Err(Missed(missed)) if missed > 5000),
        "the slow one is told what it lost"
    );
    drop(watch);
    assert!(registry.feed.watch(1).is_some(), "its place is free again");
}

#[test]
fn nothing_is_made_for_a_feed_that_nobody_watches() {
    Feed::default().publish(|| panic!("made for nobody"));
}

#[test]
fn a_name_may_be_long_and_a_uid_may_not() {
    let mut selector = Selector::default();
    let told = selector.set("listener", "a\nb").unwrap_err();
    assert_eq!(told, "write a name, without control characters");
    let told = selector.set("uid", "a\nb").unwrap_err();
    assert!(told.starts_with("write 1 to "), "{told}");
}
