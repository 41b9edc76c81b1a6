//! GatewayWorker's heartbeat settings as sidebeat answers them (last paragraph of "Heartbeat rules"), for the docs.

use super::*;

/// `pingInterval` and `pingNotResponseLimit` in seconds and times, with what GatewayWorker's own code makes of them: when
/// a client dies after its last message (`Gateway::ping`: the timer ticks every I/2, counts to 2L and then destroys).
struct Setting {
    interval: f64,
    limit: f64,
    there: Option<(f64, f64)>,
}

const fn setting(interval: f64, limit: f64, there: Option<(f64, f64)>) -> Setting {
    Setting {
        interval,
        limit,
        there,
    }
}

const SETTINGS: [Setting; 7] = [
    setting(55.0, 1.0, Some((82.5, 110.0))),
    setting(10.0, 2.0, Some((25.0, 30.0))),
    setting(25.0, 2.0, Some((62.5, 75.0))),
    setting(20.0, 3.0, Some((70.0, 80.0))),
    setting(1.0, 1.0, Some((1.5, 2.0))),
    setting(55.0, 0.5, Some((55.0, 82.5))),
    setting(10.0, 0.0, None),
];

const JITTER: f64 = 0.1;
/// How long a stream is watched that nothing closes.
const WATCHED: f64 = 200.0;

impl Setting {
    /// `idle_limit: I×L, idle_counts: messages, ping: {interval: I/2, data: D}`; without the ping where `check` refuses it.
    fn policy(&self) -> Policy {
        let idle = self.interval * self.limit;
        let interval = self.interval / 2.0;
        let refused = self.limit > 0.0 && interval * (1.0 + JITTER) > idle - (idle / 10.0).min(5.0);
        Policy {
            idle_limit: (self.limit > 0.0).then(|| secs(idle)),
            idle_counts: IdleCounts::Messages,
            ping: ping(interval, JITTER, When::Idle).filter(|_| !refused),
            ..off()
        }
    }

    /// Fewest and most pings between the last message and the close: the first ping of a stream comes after more than I/4, each
    /// other after 0.45 to 0.55 × I.
    fn pings(&self, policy: &Policy) -> (u32, u32) {
        let (Some(limit), Some(ping)) = (policy.idle_limit, &policy.ping) else {
            return (0, 0);
        };
        let (limit, interval) = (limit.as_secs_f64(), ping.interval.as_secs_f64());
        let before = |first: f64, wait: f64| ((limit - first) / wait).ceil() as u32;
        let (shortest, longest) = (interval * (1.0 - JITTER), interval * (1.0 + JITTER));
        (before(longest, longest), before(interval / 2.0, shortest))
    }

    fn row(&self) -> String {
        let policy = self.policy();
        let Self {
            interval,
            limit,
            there,
        } = self;
        let here = match (policy.idle_limit, &policy.ping) {
            (Some(idle), Some(_)) => {
                let (fewest, most) = self.pings(&policy);
                format!("{} s | {fewest} to {most}", idle.as_secs_f64())
            }
            (Some(idle), None) => format!("{} s | 0 (`ping: off`)", idle.as_secs_f64()),
            (None, _) => {
                let every = interval / 2.0;
                format!(
                    "never | every {} to {} s",
                    every * (1.0 - JITTER),
                    every * (1.0 + JITTER)
                )
            }
        };
        let there = there.map_or("never".to_owned(), |(earliest, latest)| {
            format!("{earliest} to {latest} s")
        });
        format!("| I={interval} L={limit} | {here} | {there} |")
    }
}

const TABLE: &str = "\
| pingInterval, pingNotResponseLimit | closed after the last message | pings meanwhile | GatewayWorker closes after |
|---|---|---|---|
| I=55 L=1 | 55 s | 1 to 2 | 82.5 to 110 s |
| I=10 L=2 | 20 s | 3 to 4 | 25 to 30 s |
| I=25 L=2 | 50 s | 3 to 4 | 62.5 to 75 s |
| I=20 L=3 | 60 s | 5 to 7 | 70 to 80 s |
| I=1 L=1 | 1 s | 1 to 2 | 1.5 to 2 s |
| I=55 L=0.5 | 27.5 s | 0 (`ping: off`) | 55 to 82.5 s |
| I=10 L=0 | never | every 4.5 to 5.5 s | never |";

#[test]
fn the_table_says_what_the_mapping_gives() {
    let head: String = TABLE
        .lines()
        .take(2)
        .map(|line| format!("{line}\n"))
        .collect();
    let rows: Vec<String> = SETTINGS.iter().map(Setting::row).collect();
    assert_eq!(head + &rows.join("\n"), TABLE);
}

#[test]
fn a_client_dies_exactly_its_limit_after_its_last_message_and_is_asked_as_often_as_the_table_says()
{
    for setting in &SETTINGS {
        let policy = setting.policy();
        let (fewest, most) = setting.pings(&policy);
        let (mut least, mut greatest) = (u32::MAX, 0);
        for seed in 0..1000 {
            // from a client that never spoke to one that spoke for three intervals; pongs come, and count for nothing
            let last = setting.interval * (seed % 7) as f64 / 2.0;
            let mut script: Vec<_> = (0..seed % 7 + 1)
                .map(|half| (setting.interval * half as f64 / 2.0, Op::Message(Client)))
                .collect();
            script.push((last + setting.interval / 4.0, Op::Read(Client)));
            script.push((last + setting.interval / 4.0, Op::Pong(Client, None)));
            let said =
                Stream::open(Kind::WebSocket, policy.clone(), seed).play(&script, last + WATCHED);
            let close = said.iter().find(|(_, said)| matches!(said, Said::Close(_)));
            let expected = policy
                .idle_limit
                .map(|limit| at(last).saturating_add(limit));
            assert_eq!(close.map(|(when, _)| *when), expected);
            let asked = said
                .iter()
                .filter(|(when, said)| *when > at(last) && matches!(said, Said::Ping(..)));
            let asked = asked.count() as u32;
            (least, greatest) = (least.min(asked), greatest.max(asked));
        }
        if policy.idle_limit.is_some() {
            // the most takes a run of short draws that 1,000 seeds need not bring
            let name = format!(
                "I={} L={}: {least} to {greatest}",
                setting.interval, setting.limit
            );
            assert_eq!(least, fewest, "{name}");
            assert!(
                most.saturating_sub(1) <= greatest && greatest <= most,
                "{name}"
            );
        } else {
            let every = setting.interval / 2.0;
            let (slowest, fastest) = (
                WATCHED / (every * 1.1),
                (WATCHED - every / 2.0) / (every * 0.9) + 1.0,
            );
            assert!(slowest.floor() <= f64::from(least) && f64::from(greatest) <= fastest);
        }
    }
}
