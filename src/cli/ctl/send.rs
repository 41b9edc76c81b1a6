//! `ctl send`

use std::io::{self, Read as _};
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use serde_json::Value;

use super::bulk::bulk;
use super::selector::Meant;
use super::session::{Request, Session};
use super::{CtlError, Output};
use crate::admin::client::Content;

/// Flags of `send`. Without --text or --file the message is read from standard input.
#[derive(Debug, Clone, Args)]
pub(crate) struct SendArgs {
    /// Which
    #[command(flatten)]
    meant: Meant,
    /// The message
    #[arg(long)]
    text: Option<String>,
    /// A file with the message
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// Send it as binary; text is the default
    #[arg(long)]
    binary: bool,
}

pub(super) async fn send(
    session: &Session,
    args: &SendArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let query = args.meant.query()?;
    let message = args.message()?;
    let Some(id) = args.meant.id else {
        let request = Request::post(format!("/v1/messages{query}"), message);
        return bulk(session, &request, out).await;
    };
    let request = Request::post(format!("/v1/streams/{id}/messages"), message);
    let answer: Value = session.change(&request).await?.read()?;
    out.value(&answer, |answer| {
        let bytes = &answer["bytes"];
        format!("the client's socket has taken all {bytes} bytes\n")
    });
    Ok(())
}

impl SendArgs {
    fn message(&self) -> Result<Content, CtlError> {
        let unreadable = |source| CtlError::Message {
            from: match &self.file {
                Some(file) => file.display().to_string(),
                None => "standard input".to_owned(),
            },
            source,
        };
        let bytes = self.read().map_err(unreadable)?;
        if self.binary {
            return Ok(Content::Binary(Bytes::from(bytes)));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| unreadable(io::Error::other("it is not UTF-8; use --binary")))?;
        Ok(Content::Text(text))
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        match (&self.text, &self.file) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(file)) => std::fs::read(file),
            (None, None) => {
                let mut bytes = Vec::new();
                io::stdin().read_to_end(&mut bytes).map(|_| bytes)
            }
        }
    }
}
