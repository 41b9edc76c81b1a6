//! `ctl status`

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::output::table;
use super::session::{Request, Session};
use super::{CtlError, Output};
use crate::admin::control::{HookLogStatus, Status};

pub(super) async fn status(session: &Session, out: &mut Output) -> Result<(), CtlError> {
    let results = session.call_each(&Request::get("/v1/status")).await;
    out.each(&session.endpoints, results, tables)
}

fn tables(status: &Status) -> String {
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_ms / 1000));
    let configuration = &status.configuration;
    let state = match serde_json::to_value(status.state) {
        Ok(Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    };
    let mut text = format!(
        "{state}, version {}, up {uptime}\nconfiguration {} since {}\n",
        status.version, configuration.generation, configuration.loaded_at
    );
    if let Some(error) = &configuration.last_error {
        let _ = writeln!(text, "last reload refused: {error}");
    }
    let listeners = status.listeners.iter().map(|(name, listener)| {
        [
            name.clone(),
            listener.address.clone(),
            listener.streams.to_string(),
            listener.closing.to_string(),
            listener.streams_limit.to_string(),
        ]
    });
    let heads = ["LISTENER", "ADDRESS", "STREAMS", "CLOSING", "LIMIT"];
    text += &table(heads, listeners.collect());
    let hooks = status.hooks.iter().map(|(name, hook)| {
        let state = if hook.disabled { "disabled" } else { "enabled" };
        [name.clone(), hook.queued.to_string(), state.to_owned()]
    });
    text += &table(["HOOK", "QUEUED", "STATE"], hooks.collect());
    if let Some(log) = &status.hook_log {
        text += &hook_log(log);
    }
    let certificates = status.certificates.iter().map(|certificate| {
        [
            certificate.listener.clone(),
            certificate.certificate.to_string(),
            certificate.not_after.clone(),
        ]
    });
    text += &table(
        ["LISTENER", "CERTIFICATE", "EXPIRES"],
        certificates.collect(),
    );
    text
}

fn hook_log(log: &HookLogStatus) -> String {
    let mut text = format!("\nhook log of {} bytes", log.bytes);
    if log.failing {
        text += ", CANNOT BE WRITTEN: new events would not survive a crash";
    }
    if log.skipped_bytes > 0 {
        let _ = write!(text, ", {} DAMAGED bytes skipped", log.skipped_bytes);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::control::State;
    use crate::admin::fixture::{Plane, status};
    use crate::cli::ctl::tests::ctl;

    #[tokio::test]
    async fn status_is_a_table_or_json() {
        let plane = Plane::open();
        let (result, text) = ctl(&plane, "status").await;
        result.unwrap();
        assert_eq!(
            text,
            "running, version 1.2.3, up 1m 1s\n\
             configuration 1 since 2026-01-01T00:00:00.000Z\n\
             \n\
             LISTENER  ADDRESS             STREAMS  CLOSING  LIMIT\n\
             chat      wss://0.0.0.0:8443  3        0        1000\n\
             \n\
             HOOK  QUEUED  STATE\n\
             app   0       enabled\n\
             \n\
             hook log of 4096 bytes\n\
             \n\
             LISTENER  CERTIFICATE  EXPIRES\n\
             chat      0            2027-01-01T00:00:00Z\n"
        );
        let (result, text) = ctl(&plane, "status --json").await;
        result.unwrap();
        let parsed: Status = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed, status(State::Running, 3, 0));
    }

    #[test]
    fn a_hook_log_in_trouble_is_told_of() {
        let log = HookLogStatus {
            bytes: 7,
            failing: true,
            skipped_bytes: 42,
        };
        let text = hook_log(&log);
        assert_eq!(
            text,
            "\nhook log of 7 bytes, CANNOT BE WRITTEN: new events would not survive a crash, 42 DAMAGED bytes skipped\n"
        );
        let mut without = status(State::Running, 3, 0);
        without.hook_log = None;
        assert!(!tables(&without).contains("hook log"));
    }
}
