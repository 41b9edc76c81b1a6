//! Hooks whose events end in the hands of a test.

use tokio::sync::mpsc::UnboundedReceiver;

use super::super::log::Syncer;
use super::super::log::by_hand::ByHand;
use super::super::*;

/// What comes out of the intake, in its order.
pub(crate) struct Tap {
    commands: UnboundedReceiver<Command>,
    pub(crate) log: ByHand,
}

/// Hooks as configured, with a log; nobody delivers what they are told.
pub(crate) fn tapped(
    hooks: &IndexMap<String, config::Hook>,
    metrics: HookMetrics,
    runtime: &Handle,
) -> Result<(Hooks, Tap), HookError> {
    let (intake, commands) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        metrics,
        runtime: runtime.clone(),
        clock: Clock::new(),
        log: Some(LogLine::new(&intake)),
        routes: ArcSwap::default(),
        deliveries: Mutex::default(),
        pending: AtomicUsize::new(0),
        progress: Arc::default(),
    });
    shared.configure(hooks)?;
    let hooks = Hooks {
        shared: shared.clone(),
        intake,
    };
    let log = ByHand::new(shared);
    Ok((hooks, Tap { commands, log }))
}

impl Tap {
    /// The events since the last call. The log has taken them.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Event(event, _) = &command {
                events.push(event.clone());
            }
            self.log.take(command);
        }
        events
    }

    /// Runs the log on its own, whose syncs are the test's.
    pub(super) async fn run(self, syncer: Syncer) {
        self.log.run(self.commands, syncer).await;
    }
}
