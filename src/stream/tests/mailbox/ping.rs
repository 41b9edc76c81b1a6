//! Pings on demand.

use super::*;
use crate::proto::websocket::{OPCODE_PING, OPCODE_PONG};

impl Bench {
    pub(super) fn ask(&self) -> Receiver<Result<Duration, Refusal>> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Ping { reply });
        answer
    }

    /// The token of the ping that the client hears next.
    async fn pinged(&mut self, why: &str) -> Vec<u8> {
        match self.client.hear().await {
            Heard::Ping(token) => token,
            other => panic!("{other:?}: {why}"),
        }
    }
}

#[test]
fn a_ping_on_demand_is_answered_by_its_own_pong() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        let (first, second) = (bench.ask(), bench.ask());
        let token = bench.pinged("both share one ping").await;
        let third = bench.ask();
        sleep(Duration::from_millis(70)).await;
        bench.client.send_frame(OPCODE_PONG, b"another!").await;
        assert_eq!(
            bench.app.hear().await,
            Heard::Pong(b"another!".to_vec()),
            "not ours"
        );
        bench.client.send_frame(OPCODE_PONG, &token).await;
        let rtt = first.await.unwrap().unwrap();
        assert!((70..75).contains(&rtt.as_millis()), "{rtt:?}");
        assert_eq!(second.await, Ok(Ok(rtt)));
        let token = bench
            .pinged("who came after it was sent gets another")
            .await;
        bench.client.send_frame(OPCODE_PONG, &token).await;
        assert!(third.await.unwrap().is_ok());
        let silence = timeout(LONG, bench.app.hear()).await;
        assert!(silence.is_err(), "the app sees none of it: {silence:?}");
    });
}

#[test]
fn a_ping_on_demand_waits_for_the_answer_to_the_apps_own() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        bench.app.send_frame(OPCODE_PING, b"mine").await;
        assert_eq!(bench.client.hear().await, Heard::Ping(b"mine".to_vec()));
        let answer = bench.ask();
        let silence = timeout(LONG, bench.client.hear()).await;
        assert!(
            silence.is_err(),
            "a peer may answer only the newest: {silence:?}"
        );
        bench.client.send_frame(OPCODE_PONG, b"mine").await;
        assert_eq!(bench.app.hear().await, Heard::Pong(b"mine".to_vec()));
        let token = bench.pinged("now it may go").await;
        bench.client.send_frame(OPCODE_PONG, &token).await;
        assert!(answer.await.unwrap().is_ok());
    });
}

#[test]
fn a_ping_on_demand_goes_into_a_message_that_does_not_end() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        let first = bench.app.fragment(OPCODE_TEXT, b"0", false);
        bench.app.send(&first).await;
        assert_eq!(bench.client.hear().await, text("0"));
        let answer = bench.ask();
        let part = bench.app.fragment(OPCODE_CONTINUATION, b"1", false);
        for waited in 1..3 {
            sleep(Duration::from_secs(1)).await;
            bench.app.send(&part).await;
            assert_eq!(bench.client.hear().await, text("1"), "after {waited} s");
        }
        sleep(Duration::from_secs(1)).await;
        bench.app.send(&part).await;
        let token = bench.pinged("after 2.5 s between frames").await;
        bench.client.send_frame(OPCODE_PONG, &token).await;
        assert!(answer.await.unwrap().is_ok());
    });
}

#[test]
fn a_heartbeat_of_data_is_answered_by_the_reply() {
    in_virtual_time(async {
        let keys = "framing: line,";
        let heartbeat = "{ ping: { interval: 1h, data: \"?\\n\", reply: \"!\\n\" } }";
        let mut bench = Setup {
            keys,
            ..Setup::tcp(heartbeat)
        }
        .open();
        bench.client.send(b"!\n").await;
        sleep(Duration::from_millis(1)).await;
        let answer = bench.ask();
        assert_eq!(bench.client.read(2).await, b"?\n");
        sleep(Duration::from_millis(30)).await;
        bench.client.send(b"!\n").await;
        let rtt = answer.await.unwrap().unwrap();
        assert!((30..35).contains(&rtt.as_millis()), "{rtt:?}");
    });
}
