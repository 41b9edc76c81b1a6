//! What the hooks are told, and the task that serves it when there is no log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender};
use tokio::sync::oneshot;

use super::clock::Moment;
use super::event::Event;
use super::log::BoundEntry;
use super::message::Message;
use super::metrics::Settled;
use super::shared::{Shared, retire_all};

/// In the order in which it happened.
pub(super) enum Command {
    Event(Event, Moment),
    /// The process takes streams from now on.
    Begin(Moment),
    /// A stream has another identity.
    Bound(BoundEntry),
    /// A hook is done with an event.
    Settled(Arc<Message>, Arc<str>, Settled),
    /// The queue of a hook has room for what waits in the log.
    Refill(Arc<str>),
    /// To be answered when everything before is on disk, or cannot be.
    Sync(oneshot::Sender<()>),
}

/// The way back from a hook to the log; it does not keep the log alive.
#[derive(Clone)]
pub(super) struct LogLine(WeakUnboundedSender<Command>);

impl LogLine {
    pub(super) fn new(to: &UnboundedSender<Command>) -> Self {
        Self(to.downgrade())
    }

    pub(super) fn settled(&self, message: &Arc<Message>, hook: &Arc<str>, how: Settled) {
        self.tell(Command::Settled(message.clone(), hook.clone(), how));
    }

    pub(super) fn refill(&self, hook: &Arc<str>) {
        self.tell(Command::Refill(hook.clone()));
    }

    /// Without a log thread the process ends, and the next one finds what was left.
    fn tell(&self, command: Command) {
        if let Some(log) = self.0.upgrade() {
            let _ = log.send(command);
        }
    }
}

/// Writes each event once and hands it to every hook that wants it, until every [`super::Hooks`] is gone.
pub(super) async fn dispatch(
    shared: Arc<Shared>,
    source: String,
    mut commands: UnboundedReceiver<Command>,
) {
    let mut sequence = 0;
    while let Some(command) = commands.recv().await {
        let (event, at) = match command {
            Command::Event(event, at) => (event, at),
            Command::Begin(at) => {
                let started = Event::Started {
                    former_boot_id: None,
                    recovered: 0,
                };
                (started, at)
            }
            // Only for a log.
            Command::Bound(_) | Command::Settled(..) | Command::Refill(_) | Command::Sync(_) => {
                continue;
            }
        };
        sequence += 1;
        let message = Arc::new(Message::new(&event, at, &source, sequence));
        shared.hand_on(&message);
        shared.pending.fetch_sub(1, Ordering::AcqRel);
        shared.progress.notify_waiters();
    }
    retire_all(&shared);
}
