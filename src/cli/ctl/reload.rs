//! `ctl reload`

use std::fmt::Write as _;

use super::session::{Request, Session};
use super::{CtlError, Output};
use crate::admin::client::Content;
use crate::admin::control::ReloadReport;

pub(super) async fn reload(session: &Session, out: &mut Output) -> Result<(), CtlError> {
    let request = Request::post("/v1/reload", Content::Nothing);
    let results = session.call_each(&request).await;
    out.each(&session.endpoints, results, reloaded)
}

fn reloaded(report: &ReloadReport) -> String {
    let mut text = format!("reloaded, generation {}\n", report.generation);
    for key in &report.restart_required {
        let _ = writeln!(text, "needs a restart: {key}");
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::admin::Guards;
    use crate::admin::fixture::{Asked, Plane, Script, tcp};
    use crate::cli::ctl::tests::ctl;

    #[tokio::test]
    async fn a_reload_shows_what_needs_a_restart_or_why_it_was_refused() {
        let plane = Plane::open();
        let (result, text) = ctl(&plane, "reload").await;
        result.unwrap();
        assert_eq!(text, "reloaded, generation 2\nneeds a restart: workers\n");
        assert_eq!(plane.asked(), [Asked::Reload]);
        let script = Script {
            reload: Err("sidebeat.yaml:3:5: unknown key".to_owned()),
            ..Script::default()
        };
        let plane = Plane::start(&tcp(), Guards::default(), script);
        let (result, text) = ctl(&plane, "reload").await;
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("422") && error.contains("sidebeat.yaml:3:5"),
            "{error}"
        );
        assert_eq!(text, "");
    }
}
