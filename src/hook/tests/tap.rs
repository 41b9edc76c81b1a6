//! Hooks whose events end in the hands of a test.

use tokio::sync::mpsc::UnboundedReceiver;

use super::super::*;

/// What comes out of the intake, in its order.
pub(crate) struct Tap {
    shared: Arc<Shared>,
    commands: UnboundedReceiver<Command>,
}

/// Hooks as configured; nobody delivers what they are told.
pub(crate) fn tapped(
    hooks: &IndexMap<String, config::Hook>,
    metrics: HookMetrics,
    runtime: &Handle,
) -> Result<(Hooks, Tap), HookError> {
    let (intake, commands) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        metrics,
        runtime: runtime.clone(),
        log: None,
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
    Ok((hooks, Tap { shared, commands }))
}

impl Tap {
    /// The events since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let commands = std::iter::from_fn(|| self.commands.try_recv().ok());
        let events = commands.filter_map(|command| match command {
            Command::Event(event, _) => Some(event),
            _ => None,
        });
        let events: Vec<Event> = events.collect();
        self.shared
            .pending
            .fetch_sub(events.len(), Ordering::AcqRel);
        events
    }
}
