//! More streams than a machine has descriptors for, listed by the API while others come and go.

use std::collections::HashSet;
use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt, Empty};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::bench::{Setup, in_virtual_time};
use crate::admin::{Api, Guards, Peer};
use crate::worker::Post;

const CROWD: usize = 100_000;

/// How many end, and how many open, between two pages.
const CHANGE: usize = 100;

#[derive(Deserialize)]
struct Listed {
    items: Vec<Item>,
    next_cursor: Option<String>,
    matched: usize,
}

#[derive(Deserialize)]
struct Item {
    id: Uuid,
}

async fn page(api: &Api, cursor: Option<&str>) -> Listed {
    let cursor = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
    let request = Request::get(format!("/v1/streams?limit=1000{cursor}"));
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = api.answer(Peer::Unix(None), request).await;
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

/// Every stream is relayed from pipe to pipe, and ends as a client does that hangs up.
#[test]
fn a_hundred_thousand_are_listed_page_by_page_while_others_come_and_go() {
    in_virtual_time(async {
        let setup = Setup {
            keys: "limits: { streams: 200000 },",
            pipe: 64,
            ..Setup::websocket("{ idle_limit: off, ping: off, stall_limit: off }")
        };
        let stage = setup.stage();
        let registry = &stage.ground.worker.shared.registry;
        let (control, _commands) = mpsc::channel(1);
        let post = Post::new(|_, _, _| panic!("a list tells streams nothing"));
        let api = Api::new(control, Arc::clone(registry), post, Guards::default());

        let mut random = SmallRng::seed_from_u64(7);
        let mut open: Vec<_> = (0..CROWD).map(|_| stage.open()).collect();
        let first: HashSet<_> = open.iter().map(|bench| bench.id).collect();
        let mut listed = HashSet::new();
        let (mut cursor, mut pages) = (None, 0);
        loop {
            let answer = page(&api, cursor.as_deref()).await;
            pages += 1;
            assert_eq!(answer.matched, CROWD);
            for item in &answer.items {
                assert!(listed.insert(item.id), "listed twice");
            }
            // The stream at the cursor goes as well as any.
            let last = answer.items.last().unwrap().id;
            let place = open.iter().position(|bench| bench.id == last);
            drop(open.swap_remove(place.unwrap()));
            for _ in 1..CHANGE {
                drop(open.swap_remove(random.random_range(0..open.len())));
            }
            open.extend((0..CHANGE).map(|_| stage.open()));
            while registry.len() != CROWD {
                tokio::task::yield_now().await;
            }
            cursor = answer.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let stayed = open.iter().map(|bench| bench.id);
        let stayed: Vec<_> = stayed.filter(|id| first.contains(id)).collect();
        assert!(pages > CROWD / 1000, "{pages} pages");
        assert!(stayed.len() > CROWD * 8 / 10, "{} stayed", stayed.len());
        assert!(
            stayed.iter().all(|id| listed.contains(id)),
            "one is missing"
        );
    });
}
