//! GatewayWorker's heartbeat settings, and what sidebeat makes of them (last paragraph of "Heartbeat rules"): the table of
//! docs/heartbeats.md.

use super::*;

const DOCS: &str = include_str!("../../../../docs/heartbeats.md");

/// `pingInterval` in seconds and `pingNotResponseLimit`.
struct Setting {
    interval: f64,
    limit: f64,
}

const fn setting(interval: f64, limit: f64) -> Setting {
    Setting { interval, limit }
}

const SETTINGS: [Setting; 9] = [
    setting(55.0, 1.0),
    setting(10.0, 2.0),
    setting(25.0, 2.0),
    setting(20.0, 3.0),
    setting(1.0, 1.0),
    setting(55.0, 0.5),
    setting(10.0, 0.0),
    setting(10.0, -1.0),
    setting(0.0, 1.0),
];

/// What GatewayWorker does to a client after its last message: when it is pinged, and when it is destroyed.
struct There {
    pings: Vec<f64>,
    closed: Option<f64>,
}

impl There {
    /// `Gateway::ping` for a client whose last message came `before` seconds before a tick. With a limit the timer ticks every half
    /// interval; a count is -1 after each message and one more at each tick, even ones ping, and twice the limit destroys.
    fn play(setting: &Setting, before: f64) -> Self {
        let mut there = Self {
            pings: Vec::new(),
            closed: None,
        };
        if setting.interval <= 0.0 {
            return there;
        }
        let enforces = setting.limit > 0.0;
        let every = if enforces {
            setting.interval / 2.0
        } else {
            setting.interval
        };
        let mut count = -1;
        for tick in 0.. {
            let now = before + every * f64::from(tick);
            if now > WATCHED {
                break;
            }
            if enforces && f64::from(count) >= setting.limit * 2.0 {
                there.closed = Some(now);
                break;
            }
            count += 1;
            if count != 0 && (count % 2 == 0 || !enforces) {
                there.pings.push(now);
            }
        }
        there
    }

    /// Columns of the table: the earliest and the latest of both, over all places of the last message between two ticks.
    fn columns(setting: &Setting) -> String {
        let enforces = setting.limit > 0.0;
        let span = setting.interval / if enforces { 2.0 } else { 1.0 };
        // Just after a tick, and just before one.
        let [late, early] = [span, 0.0].map(|before| Self::play(setting, before));
        let pings = match (&early.pings[..], &late.pings[..]) {
            ([], []) => "none".to_owned(),
            ([first, ..], [last, ..]) if enforces => {
                assert_eq!(early.pings.len(), late.pings.len());
                format!("{}, the first after {first} to {last} s", early.pings.len())
            }
            ([first, ..], [last, ..]) => {
                format!(
                    "every {} s, the first after {first} to {last} s",
                    setting.interval
                )
            }
            (one, other) => panic!("{one:?} {other:?}"),
        };
        let closed = match (early.closed, late.closed) {
            (Some(earliest), Some(latest)) => format!("{earliest} to {latest} s"),
            _ => "never".to_owned(),
        };
        format!("{pings} | {closed}")
    }
}

const JITTER: f64 = 0.1;
/// How long a stream is watched that nothing closes.
const WATCHED: f64 = 200.0;

impl Setting {
    /// `idle_limit: I×L, idle_counts: messages, ping: {interval: I/2, data: D}`; without the ping where `check` refuses it.
    fn policy(&self) -> Policy {
        let idle = self.interval * self.limit;
        let interval = self.interval / 2.0;
        let enforces = self.limit > 0.0 && self.interval > 0.0;
        let refused = enforces && interval * (1.0 + JITTER) > idle - (idle / 10.0).min(5.0);
        Policy {
            idle_limit: enforces.then(|| secs(idle)),
            idle_counts: IdleCounts::Messages,
            ping: ping(interval, JITTER, When::Idle).filter(|_| !refused && self.interval > 0.0),
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
        let Self { interval, limit } = self;
        let here = match (policy.idle_limit, &policy.ping) {
            (Some(idle), Some(_)) => {
                let (fewest, most) = self.pings(&policy);
                format!("{fewest} to {most} | {} s", idle.as_secs_f64())
            }
            (Some(idle), None) => format!("none (`ping: off`) | {} s", idle.as_secs_f64()),
            (None, Some(_)) => {
                let every = interval / 2.0;
                let (least, most) = (every * (1.0 - JITTER), every * (1.0 + JITTER));
                format!("every {least} to {most} s | never")
            }
            (None, None) => "none (`ping: off`) | never".to_owned(),
        };
        format!(
            "| I={interval} L={limit} | {} | {here} |",
            There::columns(self)
        )
    }
}

#[test]
fn the_documentation_has_the_table() {
    let rows: Vec<String> = SETTINGS.iter().map(Setting::row).collect();
    let written: Vec<&str> = DOCS
        .lines()
        .filter(|line| line.starts_with("| I="))
        .collect();
    assert_eq!(
        written,
        rows,
        "docs/heartbeats.md should have\n{}",
        rows.join("\n")
    );
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
        } else if policy.ping.is_none() {
            assert_eq!((least, greatest), (0, 0));
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
