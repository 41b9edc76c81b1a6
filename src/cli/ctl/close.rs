//! `ctl close`

use std::time::Duration;

use clap::Args;

use super::bulk::bulk;
use super::selector::Meant;
use super::session::{Request, Session};
use super::{CtlError, Output, why};
use crate::config::parse_duration;

/// Flags of `close`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CloseArgs {
    /// Which
    #[command(flatten)]
    meant: Meant,
    /// WebSocket close code: 1000-1003, 1007-1013, 3000-4999
    #[arg(long)]
    code: Option<u16>,
    /// Text of the Close frame
    #[arg(long)]
    reason: Option<String>,
    /// Reset the connections instead
    #[arg(long)]
    abort: bool,
    /// Close all that match evenly over this time
    #[arg(long, value_name = "DURATION", conflicts_with = "id")]
    spread: Option<String>,
}

pub(super) async fn close(
    session: &Session,
    args: &CloseArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let mut query = args.meant.query()?;
    query.maybe("code", args.code.map(|code| code.to_string()).as_deref());
    query.maybe("reason", args.reason.as_deref());
    if args.abort {
        query.add("abort", "true");
    }
    query.maybe("spread", args.spread.as_deref());
    match args.meant.id {
        Some(id) => {
            let request = Request::delete(format!("/v1/streams/{id}{query}"));
            why::show(&session.change(&request).await?, out)
        }
        None => {
            let request = Request::delete(format!("/v1/streams{query}"));
            bulk(session, &request.lasting(spread(args)?), out).await
        }
    }
}

fn spread(args: &CloseArgs) -> Result<Duration, CtlError> {
    match args.spread.as_deref() {
        None | Some("off") => Ok(Duration::ZERO),
        Some(text) => parse_duration(text).map_err(|error| CtlError::Flag {
            flag: "spread",
            problem: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::admin::fixture::{Plane, Play};
    use crate::cli::ctl::tests::ctl;

    #[tokio::test]
    async fn one_stream_is_closed_told_and_asked() {
        let mut plane = Plane::open();
        let mut told = plane.play(Play::Obey);
        let id = plane.enter(None, &[]).id;
        let (result, text) = ctl(&plane, &format!("send {id} --text héllo")).await;
        result.unwrap();
        assert_eq!(text, "the client's socket has taken all 6 bytes\n");
        assert_eq!(told.recv().await.unwrap(), "text h\\xc3\\xa9llo");
        let (result, text) = ctl(&plane, &format!("ping {id}")).await;
        result.unwrap();
        assert_eq!(text, "answered after 12.345 ms\n");
        let (result, text) = ctl(&plane, &format!("close {id} --code 4001 --reason a&b=c%")).await;
        result.unwrap();
        assert!(text.starts_with("client_idle by sidecar at "), "{text}");
        assert_eq!(told.recv().await.unwrap(), "Goodbye Some(4001) a&b=c%");
        for line in [
            format!("close {id}"),
            format!("ping {id}"),
            format!("send {id} --text x"),
        ] {
            let error = ctl(&plane, &line).await.0.unwrap_err().to_string();
            assert!(
                error.starts_with("it had ended before: client_idle"),
                "{error}"
            );
        }
    }
}
