//! What follows what, without a network.

use std::collections::HashMap;

use sidebeat_client::{Connection, Options, Verdict};

#[test]
fn close_codes_have_their_verdicts() {
    let options = Options {
        codes: HashMap::from([(4001, Verdict::Retry), (1011, Verdict::Stop)]),
        ..Options::default()
    };
    for (verdict, codes) in [
        (Verdict::Retry, vec![1001, 1005, 1006, 3000, 4001]),
        (Verdict::Stop, vec![1000, 1008, 1011, 4000, 4999]),
        (Verdict::Soon, vec![1012]),
        (Verdict::Slow, vec![1002, 1009, 1013]),
    ] {
        for code in codes {
            assert_eq!(options.verdict(code), verdict, "{code}");
        }
    }
}

#[test]
fn waits_double_up_to_their_bound() {
    let options = Options::default();
    let most = |verdict, failures| {
        options
            .wait(verdict, failures)
            .map(|(least, most)| (least.as_secs(), most.as_secs()))
    };
    let retries = [0, 1, 2, 4, 5, 5000].map(|failures| most(Verdict::Retry, failures));
    assert_eq!(retries, [1, 2, 4, 16, 30, 30].map(|bound| Some((0, bound))));
    assert_eq!(
        [0, 2, 4].map(|failures| most(Verdict::Soon, failures)),
        [5, 5, 16].map(|bound| Some((0, bound)))
    );
    assert_eq!(most(Verdict::Slow, 0), Some((15, 30)));
    assert_eq!(most(Verdict::Stop, 0), None);
}

#[tokio::test]
async fn the_outbox_has_a_bound() {
    let chat = Connection::open(
        "ws://127.0.0.1:1/",
        Options {
            outbox: 2,
            ..Options::default()
        },
    );
    assert_eq!(
        ["one", "two", "three"].map(|text| chat.send(text)),
        [true, true, false]
    );
}
