//! What a seed makes of the world: a listener with its limits, networks, peers.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::peer::{Last, Temper};
use super::pipe::Nature;
use super::script::Author;
use super::trace::Ms;
use super::wire::Wire;
use crate::config::Config;
use crate::proto::cause::End;
use crate::stream::tests::ground::configured;

/// In every heartbeat of data and in nothing that a peer says.
pub(super) const BEAT: &[u8] = b"BEAT";

/// In every configured answer to one.
const REPLY: &[u8] = b"REPLY";

/// A world, as far as it is laid down at its start.
pub(super) struct Plan {
    pub(super) random: SmallRng,
    pub(super) wire: Wire,
    /// The heartbeat of data as it is on the wire, and its answer without a frame.
    pub(super) beat: Option<Vec<u8>>,
    pub(super) reply: Option<Vec<u8>>,
    /// `limits.message` of a ws listener.
    pub(super) longest: Option<usize>,
    /// When whatever is still open is closed.
    pub(super) horizon: Ms,
    /// How many streams there are in all.
    pub(super) streams: usize,
    /// Of the world's steps: how many do something from outside.
    pub(super) meddles: f64,
    /// Messages and networks are large: bytes go past the relay by way of a pipe, and much is put between them.
    large: bool,
    first_message: bool,
    /// Lengths that matter.
    pauses: Vec<Ms>,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let large = seed % 4 == 3;
        let wire = match random.random_range(0..10) {
            0..6 => Wire::WebSocket,
            6 if !large => Wire::Line,
            7..9 if !large => Wire::Prefix {
                bytes: [1, 2, 4, 8][random.random_range(0..4)],
                includes_itself: random.random(),
                max: 2000,
            },
            _ => Wire::Raw,
        };
        let beats = random.random_bool(if wire == Wire::WebSocket { 0.2 } else { 0.6 });
        let replies = beats && wire != Wire::Raw && random.random();
        let beat = beats.then(|| wire.seal(BEAT, false));
        let reply = replies.then(|| match wire {
            Wire::WebSocket => REPLY.to_vec(),
            _ => wire.seal(REPLY, false),
        });
        let limit = random.random_bool(0.2) && wire == Wire::WebSocket;
        let longest = limit.then(|| random.random_range(100..5000));
        let horizon = match random.random_range(0..8) {
            0..4 => random.random_range(10_000..300_000),
            4..7 => random.random_range(300_000..2_000_000),
            _ => random.random_range(2_000_000..14_400_000),
        };
        Self {
            wire,
            beat,
            reply,
            longest,
            horizon: Ms::next_multiple_of(horizon, 2),
            streams: random.random_range(if large { 3..8 } else { 1..4 }),
            meddles: [0.0, 0.2, 0.8][if large { 2 } else { random.random_range(0..3) }],
            large,
            first_message: wire != Wire::Raw && random.random_bool(0.3),
            pauses: Vec::new(),
            random,
        }
    }

    /// A listener of this world; what may change in a reload is drawn anew.
    pub(super) fn config(&mut self) -> Config {
        let protocol = match self.wire {
            Wire::WebSocket => "ws",
            _ => "tcp",
        };
        let mut keys = match self.wire {
            Wire::WebSocket | Wire::Raw => String::new(),
            Wire::Line => "framing: line, ".to_owned(),
            Wire::Prefix {
                bytes,
                includes_itself,
                max,
            } => format!(
                "framing: {{ length_prefix: {{ bytes: {bytes}, includes_itself: {includes_itself}, max: {max}B }} }}, "
            ),
        };
        if let Some(longest) = self.longest {
            keys += &format!("limits: {{ message: {longest}B }}, ");
        }
        if self.first_message {
            keys += "identity: [ { first_message: whole } ], ";
        }
        let heartbeat = self.heartbeat();
        let text = format!(
            "listeners: {{ main: {{ listen: '{protocol}://127.0.0.1:0', upstream: '{protocol}://127.0.0.1:1', \
             {keys} heartbeat: {{ {heartbeat} }} }} }}\n\
             hooks: {{ app: {{ url: 'http://127.0.0.1:1/', events: [opened, closed, overdue] }} }}\n"
        );
        configured(&text)
    }

    /// A limit that is off more often than not, else from a second to an hour.
    fn limit(&mut self, key: &str, often: f64) -> Option<(String, Ms)> {
        if !self.random.random_bool(often) {
            return None;
        }
        let about = [1000, 5000, 20_000, 55_000, 300_000, 3_600_000];
        let about = about[self.random.random_range(0..about.len())];
        let length = self.random.random_range(about / 2..=about);
        self.pauses.push(length);
        Some((format!("{key}: {length}ms, "), length))
    }

    fn heartbeat(&mut self) -> String {
        self.pauses = vec![1000, 30_000];
        let websocket = self.wire == Wire::WebSocket;
        let messages = self.wire != Wire::Raw;
        let idle = self.limit("idle_limit", 0.7);
        let mut text = match &idle {
            Some((text, _)) => text.clone(),
            None => "idle_limit: off, ".to_owned(),
        };
        if messages && self.random.random_bool(0.3) {
            text += "idle_counts: messages, ";
        }
        text += &self.ping(idle.map(|(_, length)| length));
        let upstream = self.limit("upstream_idle_limit", 0.2);
        text += &upstream.clone().map_or(String::new(), |(text, _)| text);
        if websocket && self.random.random_bool(0.3) {
            let most = upstream.map_or(100_000, |(_, length)| last_call(length));
            let interval = self.random.random_range(most / 10 + 50..=most.max(101));
            text += &format!("upstream_ping: {interval}ms, ");
        }
        for (key, often, fits) in [
            ("quiet_limit", 0.2, true),
            ("first_message_limit", 0.15, messages),
            ("max_age", 0.2, true),
            ("stall_limit", 0.4, true),
            ("half_close_limit", 0.5, !websocket),
            ("close_timeout", 0.5, true),
        ] {
            let limit = self.limit(key, often).filter(|_| fits);
            text += &limit.map_or(String::new(), |(text, _)| text);
        }
        if !text.contains("stall_limit") && self.random.random_bool(0.2) {
            text += "stall_limit: off, ";
        }
        if self.random.random_bool(0.15) {
            text += "mode: observe, ";
        }
        text
    }

    fn ping(&mut self, idle: Option<Ms>) -> String {
        let websocket = self.wire == Wire::WebSocket;
        if self.random.random_bool(0.25) {
            return if websocket {
                "ping: off, ".to_owned()
            } else {
                String::new()
            };
        }
        // A reload may go from data to Ping frames and back.
        let beat = self.beat.clone().filter(|_| self.random.random_bool(0.8));
        if !websocket && beat.is_none() {
            return String::new();
        }
        let jitter = [0, 10, 30][self.random.random_range(0..3)];
        let most = idle.map_or(60_000, last_call) * 100 / (100 + jitter);
        let interval = self
            .random
            .random_range(most / 5 + 20..=most.max(21 + most / 5));
        let when = ["idle", "always"][self.random.random_range(0..2)];
        let mut ping = format!(
            "interval: {}ms, jitter: {jitter}%, when: {when}",
            interval.min(most)
        );
        let written = |bytes: &[u8]| {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            format!("'hex:{}'", digits.collect::<String>())
        };
        if let Some(beat) = beat {
            let data = if websocket {
                "BEAT".to_owned()
            } else {
                written(&beat)
            };
            ping += &format!(", data: {data}");
            if let Some(reply) = &self.reply {
                let reply = if websocket {
                    "REPLY".to_owned()
                } else {
                    written(reply)
                };
                ping += &format!(", reply: {reply}");
            }
        }
        format!("ping: {{ {ping} }}, ")
    }

    fn fork(&mut self) -> SmallRng {
        SmallRng::seed_from_u64(self.random.random())
    }

    pub(super) fn nature(&mut self) -> (Nature, SmallRng) {
        let random = &mut self.random;
        let (rooms, chunks, tls): ([usize; 5], [usize; 3], f64) = if self.large {
            (
                [3000, 20_000, 40_000, 100_000, 300_000],
                [300, 40_000, 300_000],
                0.1,
            )
        } else {
            ([3, 40, 300, 3000, 70_000], [1, 50, 70_000], 0.5)
        };
        let room = rooms[random.random_range(0..5)];
        let nature = Nature {
            room,
            delay: [0, 10, 400][random.random_range(0..3)],
            chunk: chunks[random.random_range(0..3)].max(room / 50),
            tls: random
                .random_bool(tls)
                .then(|| random.random_range(1..=room * 2)),
            stale: random.random(),
        };
        (nature, self.fork())
    }

    pub(super) fn author(&mut self, end: End, room: usize) -> Author {
        let longest = (room * 100).min(if self.large || self.random.random_bool(0.1) {
            200_000
        } else {
            3000
        });
        let longest = match self.longest {
            Some(most) if self.random.random_bool(0.9) => longest.min(most),
            Some(_) | None => longest,
        };
        Author {
            end,
            wire: self.wire,
            random: self.fork(),
            longest,
            large: self.large,
            pauses: self.pauses.clone(),
            reply: self
                .reply
                .clone()
                .filter(|_| end == End::Client)
                .map(|bytes| (bytes, false)),
        }
    }

    pub(super) fn temper(&mut self, end: End) -> Temper {
        let random = &mut self.random;
        let lasts = [
            Last::Close,
            Last::Close,
            Last::Fin,
            Last::Reset,
            Last::Vanish,
            Last::Silence,
            Last::Silence,
        ];
        Temper {
            talks: [0.0, 0.3, 0.9][random.random_range(0..3)],
            answers_pings: random.random_bool(0.8),
            polite: random.random_bool(0.8),
            appetite: if random.random_bool(0.15) {
                random.random_range(1..500)
            } else {
                usize::MAX
            },
            steps: random.random_range(0..60),
            breaks: random.random_bool(if end == End::Client { 0.15 } else { 0.08 }),
            last: lasts[random.random_range(0..lasts.len())],
        }
    }
}

/// Rule 2: the latest a ping may go out after the last byte heard.
fn last_call(limit: Ms) -> Ms {
    limit - limit.div_ceil(10).min(5000)
}
