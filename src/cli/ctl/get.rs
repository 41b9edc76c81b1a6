//! `ctl get`

use serde_json::Value;

use super::output::columns;
use super::selector::StreamArgs;
use super::session::{Request, Session};
use super::{CtlError, Output};

pub(super) async fn get(
    session: &Session,
    args: &StreamArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let request = Request::get(format!("/v1/streams/{}", args.id));
    let stream: Value = session.find(&request).await?.read()?;
    out.value(&stream, |stream| {
        let mut lines = Vec::new();
        fields("", stream, &mut lines);
        columns(&lines)
    });
    Ok(())
}

/// Every field on a line of its own.
fn fields(name: &str, value: &Value, lines: &mut Vec<[String; 2]>) {
    let cell = match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = match name {
                    "" => member.clone(),
                    _ => format!("{name}.{member}"),
                };
                fields(&name, value, lines);
            }
            return;
        }
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => plain(value),
    };
    lines.push([name.to_owned(), cell]);
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::fixture::Plane;
    use crate::cli::ctl::tests::ctl;
    use crate::registry::record::Evidence;
    use crate::registry::tests::end;

    #[tokio::test]
    async fn a_stream_or_its_closing_record_is_shown() {
        let plane = Plane::open();
        let stream = plane.enter(Some("42"), &["a", "b"]);
        let (result, text) = ctl(&plane, &format!("get {}", stream.id)).await;
        result.unwrap();
        for line in [
            "client.address          192.0.2.7:4000\n",
            "tags                    a, b\n",
            "deadline_at             -\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        end(&plane.registry, &stream, Evidence::new(Duration::ZERO, &[]));
        let (_, text) = ctl(&plane, &format!("get {} --json", stream.id)).await;
        let record: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["reason"], "client_idle");
    }
}
