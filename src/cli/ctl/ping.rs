//! `ctl ping`

use serde_json::Value;

use super::selector::StreamArgs;
use super::session::{Request, Session};
use super::{CtlError, Output};
use crate::admin::client::Content;

pub(super) async fn ping(
    session: &Session,
    args: &StreamArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let request = Request::post(format!("/v1/streams/{}/ping", args.id), Content::Nothing);
    let answer: Value = session.change(&request).await?.read()?;
    out.value(&answer, |answer| {
        format!("answered after {} ms\n", answer["rtt_ms"])
    });
    Ok(())
}
