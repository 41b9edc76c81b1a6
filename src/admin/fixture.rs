//! An admin plane with a scripted server behind it, for tests.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::control::{
    CertificateStatus, Command, ConfigurationStatus, DrainReport, HookLogStatus, HookStatus,
    ListenerStatus, ReloadReport, State, Status,
};
use super::{AdminListener, Api, Guards, serve};
use crate::config::AdminAddress;
use crate::registry::record::Evidence;
use crate::registry::tests::{end, entry};
use crate::registry::{Entry, Registry};
use crate::worker::{Command as StreamCommand, Post, Refusal};

/// What the scripted server was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Reload,
    Drain(Option<Duration>, Option<Duration>),
}

/// What the scripted server answers.
pub(crate) struct Script {
    pub(crate) reload: Result<ReloadReport, String>,
    /// One after the other; the last one for ever.
    pub(crate) statuses: Vec<Status>,
}

/// A running admin plane; dropping it closes everything.
pub(crate) struct Plane {
    pub(crate) api: Arc<Api>,
    pub(crate) url: String,
    pub(crate) registry: Arc<Registry>,
    /// What the streams were told, in the order of telling.
    pub(crate) told: UnboundedReceiver<(Uuid, StreamCommand)>,
    asked: Arc<Mutex<Vec<Asked>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Plane {
    pub(crate) fn start(address: &AdminAddress, guards: Guards, script: Script) -> Self {
        let (control, commands) = mpsc::channel(8);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn(act(commands, script, Arc::clone(&asked)));
        let registry = Arc::<Registry>::default();
        let (post, told) = post();
        let api = Api::new(control, Arc::clone(&registry), post, guards);
        let api = Arc::new(api);
        let listener = AdminListener::bind(address).unwrap();
        Self {
            url: listener.url(),
            tasks: [server, tokio::spawn(serve(listener, Arc::clone(&api)))],
            api,
            registry,
            told,
            asked,
        }
    }

    /// On a TCP port of the kernel's choice, without a token.
    pub(crate) fn open() -> Self {
        Self::start(&tcp(), Guards::default(), Script::default())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.url.strip_prefix("http://").unwrap();
        address.parse().unwrap()
    }

    /// Ends it, as a process that dies does.
    pub(crate) fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    /// What the server has been asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// How a played stream takes what it is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Play {
    /// It does it.
    Obey,
    /// It refuses.
    Refuse(Refusal),
    /// It has ended by itself just before.
    HasEnded,
    /// It lets go without having ended.
    LetGo,
}

impl Plane {
    /// An open stream.
    pub(crate) fn enter(&self, uid: Option<&str>, tags: &[&str]) -> Arc<Entry> {
        let entry = entry("chat", "192.0.2.7:4000", uid, tags);
        self.registry.enter(Arc::clone(&entry), || {});
        entry
    }

    /// Plays all streams from now on; what they were told comes out of the channel.
    pub(crate) fn play(&mut self, play: Play) -> UnboundedReceiver<String> {
        let (_, nobody) = mpsc::unbounded_channel();
        let mut told = std::mem::replace(&mut self.told, nobody);
        let registry = Arc::clone(&self.registry);
        let (note, notes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some((id, command)) = told.recv().await {
                let leave = || {
                    if let Some(entry) = registry.get(id) {
                        end(&registry, &entry, Evidence::default());
                    }
                };
                if play == Play::HasEnded {
                    leave();
                    continue;
                }
                match command {
                    StreamCommand::Cut {
                        cause,
                        manner,
                        reply,
                    } => {
                        let _ = note.send(format!("{manner:?} {:?} {}", cause.code, cause.text));
                        if play == Play::Obey {
                            leave();
                            let _ = reply.send(());
                        }
                    }
                    StreamCommand::Send { message, reply } => {
                        let kind = if message.binary { "binary" } else { "text" };
                        let _ = note.send(format!("{kind} {}", message.payload.escape_ascii()));
                        match play {
                            Play::Obey => drop(reply.send(Ok(()))),
                            Play::Refuse(refusal) => drop(reply.send(Err(refusal))),
                            Play::HasEnded | Play::LetGo => {}
                        }
                    }
                    StreamCommand::Ping { reply } => match play {
                        Play::Obey => drop(reply.send(Ok(Duration::from_micros(12_345)))),
                        Play::Refuse(refusal) => drop(reply.send(Err(refusal))),
                        Play::HasEnded | Play::LetGo => {}
                    },
                    StreamCommand::Close(_) | StreamCommand::PolicyChanged => {
                        panic!("not by the API")
                    }
                }
            }
        });
        notes
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            reload: Ok(ReloadReport {
                generation: 2,
                restart_required: vec!["workers".to_owned()],
            }),
            statuses: vec![status(State::Running, 3, 0)],
        }
    }
}

/// A way to streams that are played by the test.
pub(crate) fn post() -> (Post, UnboundedReceiver<(Uuid, StreamCommand)>) {
    let (sender, told) = mpsc::unbounded_channel();
    let post = Post::new(move |_, id, command| {
        // A test that is over does not play streams any more.
        let _ = sender.send((id, command));
    });
    (post, told)
}

pub(crate) fn tcp() -> AdminAddress {
    AdminAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into())
}

pub(crate) fn status(state: State, streams: u64, queued: u64) -> Status {
    let listener = ListenerStatus {
        address: "wss://0.0.0.0:8443".to_owned(),
        streams,
        closing: 0,
        streams_limit: 1000,
    };
    let hook = HookStatus {
        queued,
        disabled: false,
    };
    Status {
        version: "1.2.3".to_owned(),
        uptime_ms: 61_000,
        state,
        listeners: BTreeMap::from([("chat".to_owned(), listener)]),
        hooks: BTreeMap::from([("app".to_owned(), hook)]),
        hook_log: Some(HookLogStatus {
            bytes: 4096,
            failing: false,
            skipped_bytes: 0,
        }),
        certificates: vec![CertificateStatus {
            listener: "chat".to_owned(),
            certificate: 0,
            not_after: "2027-01-01T00:00:00Z".to_owned(),
        }],
        configuration: ConfigurationStatus {
            generation: 1,
            loaded_at: "2026-01-01T00:00:00.000Z".to_owned(),
            last_error: None,
        },
    }
}

async fn act(mut commands: mpsc::Receiver<Command>, script: Script, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut statuses = script.statuses.into_iter().peekable();
    while let Some(command) = commands.recv().await {
        // Callers may hang up before their answer: that is what some tests do.
        match command {
            Command::Reload(reply) => {
                asked.lock().unwrap().push(Asked::Reload);
                let _ = reply.send(script.reload.clone());
            }
            Command::Drain {
                spread,
                delay,
                reply,
            } => {
                asked.lock().unwrap().push(Asked::Drain(spread, delay));
                let ms = |time: Option<Duration>| time.map_or(1000, |t| t.as_millis() as u64);
                let _ = reply.send(DrainReport {
                    streams: 3,
                    delay_ms: ms(delay),
                    spread_ms: ms(spread),
                });
            }
            Command::Config(reply) => {
                let _ = reply.send(serde_json::json!({ "workers": "auto" }));
            }
            Command::Status(reply) => {
                let status = statuses.next().unwrap();
                if statuses.peek().is_none() {
                    statuses = vec![status.clone()].into_iter().peekable();
                }
                let _ = reply.send(status);
            }
        }
    }
}
