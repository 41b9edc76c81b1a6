//! What a selector finds, page by page.

use std::collections::HashSet;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// The promise of the cursor, at the size of the promise: whatever opens and closes between two pages, a stream that
/// stays open is listed once.
#[test]
fn a_hundred_thousand_are_listed_page_by_page_while_others_come_and_go() {
    let registry = Registry::default();
    let mut random = SmallRng::seed_from_u64(7);
    let mut open: Vec<_> = (0..100_000u32)
        .map(|n| {
            let uid = format!("user-{n}");
            let room = format!("room:{}", n % 10);
            enter(&registry, simple(Some(&uid), &[&room]))
        })
        .collect();
    let selectors = [
        &[][..],
        &[("tag", "room:3")],
        &[("listener", "chat"), ("client", "192.0.2.0/24")],
    ];
    for parameters in selectors {
        let selector = selector(parameters);
        let before = registry.select(&selector);
        let mut listed = HashSet::new();
        let (mut cursor, mut pages) = (None, 0);
        loop {
            let page = registry.page(&selector, cursor, 1000);
            pages += 1;
            for entry in &page.entries {
                assert!(listed.insert(entry.id), "listed twice");
            }
            for _ in 0..100 {
                let gone = open.swap_remove(random.random_range(0..open.len()));
                end(&registry, &gone, Evidence::default());
                open.push(enter(&registry, simple(None, &["room:3"])));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let stayed = before
            .iter()
            .filter(|entry| registry.get(entry.id).is_some());
        let stayed: Vec<_> = stayed.map(|entry| entry.id).collect();
        assert!(
            pages >= 10 && stayed.len() > 8_000,
            "{pages} {}",
            stayed.len()
        );
        assert!(
            stayed.iter().all(|id| listed.contains(id)),
            "one is missing"
        );
    }
    assert_eq!(registry.len(), 100_000);
}

#[test]
fn a_page_begins_behind_its_cursor_whatever_it_selects() {
    let registry = Registry::default();
    let streams = ["x", "y", "z"].map(|uid| enter(&registry, simple(Some(uid), &[])));
    let after = registry.page(&Selector::default(), None, 2).next;
    assert!(after.is_some());
    for (uid, left) in [("x", 0), ("y", 0), ("z", 1)] {
        let mut selector = Selector::default();
        selector.set("uid", uid).unwrap();
        let page = registry.page(&selector, after, 10);
        assert_eq!(page.entries.len(), left, "{uid}");
    }
    drop(streams);
}

#[test]
fn uids_and_tags_are_found_without_looking_at_others() {
    let registry = Registry::default();
    assert!(registry.is_empty());
    let a = enter(&registry, simple(Some("42"), &["x", "y"])).id;
    assert!(!registry.is_empty());
    let b = enter(&registry, simple(Some("42"), &["y"])).id;
    let c = enter(&registry, simple(None, &["x"])).id;
    assert_eq!(found(&registry, &[]), [a, b, c]);
    let all: Vec<_> = registry.all().iter().map(|entry| entry.id).collect();
    assert_eq!(all, [a, b, c]);
    let mut seen = Vec::new();
    registry.for_each(|entry| seen.push(entry.id));
    assert_eq!(seen, [a, b, c]);
    assert_eq!(found(&registry, &[("uid", "42")]), [a, b]);
    assert_eq!(found(&registry, &[("tag", "x")]), [a, c]);
    assert_eq!(found(&registry, &[("tag", "x"), ("tag", "y")]), [a]);
    assert_eq!(found(&registry, &[("uid", "42"), ("tag", "x")]), [a]);
    for nobody in [
        &[("uid", "4")][..],
        &[("tag", "x"), ("tag", "z")],
        &[("uid", "42"), ("listener", "x")],
    ] {
        assert_eq!(found(&registry, nobody), NOBODY, "{nobody:?}");
    }
}

#[test]
fn the_rest_of_a_selector_is_compared() {
    let registry = Registry::default();
    let a = enter(&registry, entry("chat", "192.0.2.7:1", None, &[])).id;
    let b = enter(&registry, entry("feed", "198.51.100.1:1", None, &[])).id;
    let c = enter(&registry, entry("feed", "[2001:db8::1]:1", None, &[])).id;
    assert_eq!(found(&registry, &[("listener", "feed")]), [b, c]);
    assert_eq!(found(&registry, &[("client", "192.0.2.7")]), [a]);
    assert_eq!(found(&registry, &[("client", "0.0.0.0/0")]), [a, b]);
    assert_eq!(found(&registry, &[("client", "2001:db8::/32")]), [c]);
}

#[tokio::test(start_paused = true)]
async fn silence_and_age_are_compared() {
    let registry = Registry::default();
    let old = enter(&registry, simple(None, &[]));
    tokio::time::advance(Duration::from_secs(60)).await;
    old.figures.heard(End::Client, old.age(), 1, 0);
    let young = enter(&registry, simple(None, &[]));
    tokio::time::advance(Duration::from_secs(30)).await;
    young.figures.heard(End::Client, young.age(), 1, 0);
    assert_eq!(found(&registry, &[("age_over", "60s")]), [old.id]);
    assert_eq!(
        found(&registry, &[("age_over", "90s")]),
        NOBODY,
        "longer than that, not as long"
    );
    assert_eq!(found(&registry, &[("idle_over", "20s")]), [old.id]);
    assert_eq!(
        found(&registry, &[("idle_over", "29s999ms"), ("age_over", "1s")]),
        [old.id]
    );
    assert_eq!(found(&registry, &[("idle_over", "30s")]), NOBODY);
}
