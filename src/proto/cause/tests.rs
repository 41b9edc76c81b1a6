//! The words and codes that apps, dashboards and alerts are written against.

use super::*;

#[test]
fn each_reason_has_its_word_author_and_code() {
    use By::{Admin, Client, Sidecar, Upstream};
    let table = [
        ("client_close", Client, None),
        ("upstream_close", Upstream, None),
        ("client_gone", Client, None),
        ("upstream_gone", Upstream, Some(1001)),
        ("client_idle", Sidecar, Some(1001)),
        ("quiet", Sidecar, Some(1001)),
        ("no_first_message", Sidecar, Some(1001)),
        ("max_age", Sidecar, Some(1001)),
        ("client_stalled", Sidecar, Some(1001)),
        ("upstream_idle", Sidecar, Some(1001)),
        ("upstream_stalled", Sidecar, Some(1001)),
        ("half_close_timeout", Sidecar, None),
        ("protocol_error", Sidecar, Some(1002)),
        ("message_too_big", Sidecar, Some(1009)),
        ("admin_close", Admin, Some(1008)),
        ("drain", Sidecar, Some(1012)),
        ("sidecar_crash", Sidecar, None),
        ("internal_error", Sidecar, Some(1011)),
    ];
    let causes = Reason::ALL.iter().map(|reason| Cause::new(*reason));
    let said = causes.map(|cause| (cause.reason.as_str(), cause.by, cause.code));
    assert_eq!(said.collect::<Vec<_>>(), table);
    let texts = Reason::ALL.iter().map(|reason| Cause::new(*reason).text);
    assert!(texts.eq(table.map(|(word, _, _)| word)));
}

#[test]
fn ends_and_authors_have_their_words() {
    assert_eq!(End::BOTH.map(End::as_str), ["client", "upstream"]);
    assert_eq!(End::BOTH.map(End::other), [End::Upstream, End::Client]);
    let all = [By::Client, By::Upstream, By::Sidecar, By::Admin];
    let words = ["client", "upstream", "sidecar", "admin"];
    assert_eq!(all.map(By::as_str), words);
}

#[test]
fn a_cause_takes_evidence_and_the_code_that_was_sent() {
    let plain = Cause::new(Reason::ProtocolError);
    assert_eq!(plain.detail, None);
    let told = plain.clone().with_detail("a masked frame");
    assert_eq!(told.detail.as_deref(), Some("a masked frame"));
    assert_eq!((told.code, told.reason), (plain.code, plain.reason));
    let drained = Cause::new(Reason::Drain).with_code(Some(4000));
    assert_eq!(drained.code, Some(4000));
    assert_eq!(plain.with_code(None).code, None);
}
