//! Events that nobody will get are kept in a file.

use super::*;

fn dead_letters(state_dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(state_dir.join("dead-letters.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_hook_that_is_gone_leaves_dead_letters_and_frees_the_log() {
    let (receiver, open) = gated().await;
    let (app, spare) = (everything(&receiver), everything(&receiver));
    let directory = tempfile::tempdir().unwrap();
    let first = Life::begin(directory.path(), &[("app", &app), ("spare", &spare)]);
    first.proxy.closed(1, None);
    first.committed().await;
    let left = first.kill();
    open.send(true).unwrap();
    let second = Life::begin(left.path(), &[("spare", &spare)]);
    second.proxy.settled().await;
    let delivered = format!(
        "sidebeat_hook_events_total{{hook=\"spare\",result=\"delivered\",type=\"{CLOSED}\"}}"
    );
    assert_eq!(second.proxy.metric(&delivered), Some(1.0));
    let letters = dead_letters(left.path());
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!(
            (&letter["hook"], &letter["result"]),
            (&Value::from("app"), &Value::from("removed"))
        );
    }
}

#[tokio::test]
async fn what_is_given_up_or_rejected_is_kept_as_a_dead_letter() {
    let receiver = Receiver::start(|_, _| Answer::Status(413)).await;
    let (directory, app) = (tempfile::tempdir().unwrap(), receiver.hook());
    let life = Life::begin(directory.path(), &[("app", &app)]);
    life.proxy.closed(1, None);
    let (event, long_ago) = (closed(2, None), Instant::now() - Duration::from_secs(901));
    let event = Event::Closed(Arc::new(event));
    life.proxy.hooks.emit(event, SystemTime::now(), long_ago);
    life.proxy.settled().await;
    let mut results: Vec<(String, String)> = dead_letters(directory.path())
        .iter()
        .map(|letter| {
            (
                letter["result"].to_string(),
                letter["event"]["subject"].to_string(),
            )
        })
        .collect();
    results.sort();
    let of = |result: &str, stream| {
        (
            format!("\"{result}\""),
            format!("\"{}\"", Uuid::from_u128(stream)),
        )
    };
    assert_eq!(results, [of("expired", 2), of("rejected", 1)]);
    let text = receiver.all()[0].body.clone();
    let raw = std::fs::read(directory.path().join("dead-letters.jsonl")).unwrap();
    assert!(
        memchr::memmem::find(&raw, &text).is_some(),
        "the event is kept as it was sent"
    );
}
