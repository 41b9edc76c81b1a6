//! `ctl why`: why a stream ended, as a sentence with its evidence.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::list::Row;
use super::selector::StreamArgs;
use super::session::{Reply, Request, Session};
use super::{CtlError, Output};
use crate::config::format_duration;
use crate::registry::record::Evidence;

pub(super) async fn why(
    session: &Session,
    args: &StreamArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let request = Request::get(format!("/v1/streams/{}", args.id));
    let reply = session.find(&request).await?;
    if out.json || reply.is_gone() {
        return show(&reply, out);
    }
    let (row, now) = (reply.read::<Row>()?, SystemTime::now());
    let _ = writeln!(
        out.text,
        "it is open, for {}; silent for {}; ends in {} if nothing more is heard",
        row.open_for(now),
        row.silent_for(),
        row.ends_in(now)
    );
    Ok(())
}

/// A closing record, as JSON or as its sentence.
pub(super) fn show(reply: &Reply<'_>, out: &mut Output) -> Result<(), CtlError> {
    if out.json {
        out.write_json(&reply.read()?);
    } else {
        let _ = writeln!(out.text, "{}", reply.read::<Ended>()?.sentence());
    }
    Ok(())
}

/// What of a closing record the sentence needs.
#[derive(Debug, Deserialize)]
pub(crate) struct Ended {
    reason: String,
    by: String,
    closed_at: String,
    duration_ms: u64,
    close_code: Option<u16>,
    close_reason: Option<String>,
    detail: Option<String>,
    lateness_ms: Option<f64>,
    #[serde(default)]
    evidence: Evidence,
}

impl Ended {
    /// One line: reason, author and time, then what happened and what shows it.
    pub(super) fn sentence(&self) -> String {
        let open_for = format_duration(Duration::from_millis(self.duration_ms));
        let mut text = format!(
            "{} by {} at {}, {open_for} after it opened: {}",
            self.reason,
            self.by,
            self.closed_at,
            self.what()
        );
        if let Some(lateness) = self.lateness_ms {
            let _ = write!(text, "; closed {lateness:.0} ms late");
        }
        text
    }

    fn what(&self) -> String {
        match self.reason.as_str() {
            "client_close" => format!("the client ended it{}", self.code()),
            "upstream_close" => format!("the app ended it{}", self.code()),
            "client_gone" => self.with_detail("the client vanished without a goodbye"),
            "upstream_gone" => self.with_detail("the app vanished without a goodbye"),
            "client_idle" => self.silence("nothing heard"),
            "upstream_idle" => self.silence("nothing heard from the app"),
            "client_stalled" => {
                self.silence("the client took none of what waited for it; nothing heard")
            }
            "upstream_stalled" => {
                self.silence("the app took none of what waited for it; nothing heard")
            }
            "half_close_timeout" => {
                "one side had ended, and the other was silent for half_close_limit".to_owned()
            }
            "quiet" => "no message either way for quiet_limit".to_owned(),
            "no_first_message" => "no first message within first_message_limit".to_owned(),
            "max_age" => "it reached its max_age".to_owned(),
            "admin_close" => format!("closed by a call of the admin API{}", self.code()),
            "drain" => format!("closed by a drain{}", self.code()),
            "sidecar_crash" => {
                "the process died, and the next one found it open in its log".to_owned()
            }
            "internal_error" => self.with_detail("a fault of sidebeat"),
            _ => self.with_detail("no more is known"),
        }
    }

    fn code(&self) -> String {
        let reason = self.close_reason.as_deref().unwrap_or_default();
        match self.close_code {
            Some(code) if reason.is_empty() => format!(" with code {code}"),
            Some(code) => format!(" with code {code} \"{reason}\""),
            None => String::new(),
        }
    }

    fn with_detail(&self, otherwise: &str) -> String {
        self.detail.as_deref().unwrap_or(otherwise).to_owned()
    }

    fn silence(&self, words: &str) -> String {
        let Some(silent) = self.evidence.silent_ms else {
            return words.to_owned();
        };
        let mut text = format!("{words} for {}", seconds(silent));
        let pings: Vec<_> = self
            .evidence
            .unanswered_pings_ms
            .iter()
            .map(|ms| seconds(*ms))
            .collect();
        match pings.as_slice() {
            [] => {}
            [one] => {
                let _ = write!(text, "; a ping at {one} unanswered");
            }
            [first @ .., last] => {
                let _ = write!(
                    text,
                    "; pings at {} and {last} unanswered",
                    first.join(", ")
                );
            }
        }
        text
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::admin::fixture::Plane;
    use crate::cli::ctl::tests::ctl;
    use crate::proto::cause::Reason;
    use crate::registry::tests::end;

    fn sentence(changes: serde_json::Value) -> String {
        let mut record = json!({
            "reason": "client_idle", "by": "sidecar", "closed_at": "2026-01-01T00:01:00.003Z", "duration_ms": 123_000,
            "close_code": 1001, "close_reason": "client_idle", "detail": null, "lateness_ms": null,
        });
        for (name, value) in changes.as_object().unwrap() {
            record[name] = value.clone();
        }
        serde_json::from_value::<Ended>(record).unwrap().sentence()
    }

    #[test]
    fn a_silent_client_is_told_with_its_evidence() {
        let evidence = json!({ "silent_ms": 55_003, "unanswered_pings_ms": [25_100, 50_000] });
        assert_eq!(
            sentence(json!({ "evidence": evidence, "lateness_ms": 3.2 })),
            "client_idle by sidecar at 2026-01-01T00:01:00.003Z, 2m3s after it opened: \
             nothing heard for 55.0 s; pings at 25.1 s and 50.0 s unanswered; closed 3 ms late"
        );
        let one = json!({ "silent_ms": 3000, "unanswered_pings_ms": [1499] });
        assert!(
            sentence(json!({ "evidence": one }))
                .ends_with("nothing heard for 3.0 s; a ping at 1.5 s unanswered")
        );
        let none = json!({ "silent_ms": 3000, "unanswered_pings_ms": [] });
        assert!(sentence(json!({ "evidence": none })).ends_with(": nothing heard for 3.0 s"));
        let many = json!({ "silent_ms": 9000, "unanswered_pings_ms": [1000, 2000, 3000, 4000] });
        assert!(
            sentence(json!({ "evidence": many }))
                .contains("pings at 1.0 s, 2.0 s, 3.0 s and 4.0 s unanswered")
        );
    }

    #[test]
    fn codes_and_details_are_told_where_they_say_something() {
        let closed = json!({ "reason": "client_close", "by": "client", "close_code": 1000, "close_reason": "bye" });
        assert!(sentence(closed).ends_with("the client ended it with code 1000 \"bye\""));
        let bare = json!({ "reason": "upstream_close", "by": "upstream", "close_code": null, "close_reason": null });
        assert!(sentence(bare).ends_with(": the app ended it"));
        let gone = json!({ "reason": "client_gone", "by": "client", "detail": "Connection reset by peer (os error 104)" });
        assert!(sentence(gone).ends_with(": Connection reset by peer (os error 104)"));
    }

    #[test]
    fn every_reason_has_its_words() {
        let mut seen = 0;
        for reason in Reason::ALL {
            let text = sentence(json!({ "reason": reason.as_str(), "by": reason.by().as_str() }));
            let detail = matches!(reason, Reason::ProtocolError | Reason::MessageTooBig);
            assert_eq!(text.contains("no more is known"), detail, "{text}");
            seen += 1;
        }
        assert_eq!(seen, 18);
    }

    #[tokio::test]
    async fn an_open_stream_an_ended_and_an_unknown_one_are_told_of() {
        let plane = Plane::open();
        let stream = plane.enter(Some("42"), &[]);
        let (_, text) = ctl(&plane, &format!("why {}", stream.id)).await;
        assert!(text.starts_with("it is open, for "), "{text}");
        let asked_after = [25_100, 50_000].map(Duration::from_millis);
        end(
            &plane.registry,
            &stream,
            Evidence::new(Duration::from_millis(55_003), &asked_after),
        );
        let (result, text) = ctl(&plane, &format!("why {}", stream.id)).await;
        result.unwrap();
        assert!(
            text.ends_with("nothing heard for 55.0 s; pings at 25.1 s and 50.0 s unanswered; closed 3 ms late\n"),
            "{text}"
        );
        let (result, _) = ctl(&plane, &format!("why {}", Uuid::now_v7())).await;
        assert!(matches!(result, Err(CtlError::Unknown)));
    }
}
