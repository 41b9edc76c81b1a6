//! Calls about every stream that matches.

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::json;

use super::session::{Request, Session};
use super::{CtlError, Output, collected};

/// What became of the streams that matched, of several processes added up.
#[derive(Debug, Default, Deserialize)]
struct Count {
    matched: u64,
    done: u64,
    failed: u64,
}

/// Tells every process at once and adds up what they did.
pub(super) async fn bulk(
    session: &Session,
    request: &Request,
    out: &mut Output,
) -> Result<(), CtlError> {
    let calls = session
        .endpoints
        .iter()
        .map(|endpoint| session.call(endpoint, request.clone()));
    let mut sum = Count::default();
    let mut errors = Vec::new();
    for result in join_all(calls).await {
        match result {
            Ok(Count {
                matched,
                done,
                failed,
            }) => {
                sum.matched += matched;
                sum.done += done;
                sum.failed += failed;
            }
            Err(error) => errors.push(error),
        }
    }
    let Count {
        matched,
        done,
        failed,
    } = sum;
    let count = json!({ "matched": matched, "done": done, "failed": failed });
    out.value(&count, |_| {
        format!("{matched} matched, {done} done, {failed} failed\n")
    });
    collected(errors, session.endpoints.len())?;
    match failed {
        0 => Ok(()),
        failed => Err(CtlError::Undone { failed, matched }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::admin::fixture::{Plane, Play};
    use crate::cli::ctl::tests::ctl;

    #[tokio::test]
    async fn all_that_match_are_counted() {
        let mut plane = Plane::open();
        let mut told = plane.play(Play::Obey);
        for _ in 0..3 {
            plane.enter(Some("a b"), &[]);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xff\x00").unwrap();
        let path = file.path().display();
        let (result, text) = ctl(&plane, &format!("send --all --binary --file {path}")).await;
        result.unwrap();
        assert_eq!(text, "3 matched, 3 done, 0 failed\n");
        assert_eq!(told.recv().await.unwrap(), "binary \\xff\\x00");
        let (result, _) = ctl(&plane, &format!("send --all --file {path}")).await;
        assert!(result.unwrap_err().to_string().contains("--binary"));
        let (result, text) =
            ctl(&plane, "close --listener chat --abort --spread 10ms --json").await;
        result.unwrap();
        let count: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(count, json!({ "matched": 3, "done": 3, "failed": 0 }));
        for line in ["close", "send --text x"] {
            let error = ctl(&plane, line).await.0.unwrap_err().to_string();
            assert!(error.contains("--all"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_failed_is_an_error_too() {
        let mut plane = Plane::open();
        let _told = plane.play(Play::LetGo);
        plane.enter(None, &[]);
        let (result, text) = ctl(&plane, "send --all --text x").await;
        assert_eq!(text, "1 matched, 0 done, 1 failed\n");
        assert!(matches!(
            result,
            Err(CtlError::Undone {
                failed: 1,
                matched: 1
            })
        ));
    }
}
