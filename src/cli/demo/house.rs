//! The files of a demo: configuration, certificate, key and hook secret, in a directory that is gone afterwards.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::Plan;

/// How long a client of the demo may be silent: short, so that it is seen to die.
pub(super) const IDLE_LIMIT: &str = "10s";
/// How often it is asked meanwhile.
pub(super) const PING_INTERVAL: &str = "3s";

/// Why the files cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum HouseError {
    #[error("cannot write {}: {source}; set TMPDIR to a directory where that is possible", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// A directory of its own, removed when this is dropped.
pub(super) struct House {
    directory: PathBuf,
    /// The key of the hook, as in its file.
    pub(super) secret: String,
}

impl House {
    /// Writes all files; nobody else can read them.
    pub(super) fn build(plan: &Plan) -> Result<Self, HouseError> {
        let directory = std::env::temp_dir().join(format!("sidebeat-demo-{}", Uuid::new_v4()));
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(|source| HouseError::Write {
            path: directory.clone(),
            source,
        })?;
        let key = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let house = Self {
            directory,
            secret: format!("whsec_{}\n", STANDARD.encode(key)),
        };
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::generate_simple_self_signed(names)?;
        write(&house.certificate(), &certificate.cert.pem())?;
        write(&house.key(), &certificate.signing_key.serialize_pem())?;
        write(&house.secret_file(), &house.secret)?;
        write(&house.config_file(), &house.config(plan))?;
        Ok(house)
    }

    /// The configuration that the proxy of the demo runs with.
    pub(super) fn config_file(&self) -> PathBuf {
        self.directory.join("sidebeat.yaml")
    }

    /// The certificate that a client has to trust.
    pub(super) fn certificate(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    fn secret_file(&self) -> PathBuf {
        self.directory.join("hook.secret")
    }

    fn config(&self, plan: &Plan) -> String {
        let [ws, wss, tcp, tls, admin, metrics] = plan.proxy;
        let Plan {
            app_ws,
            app_tcp,
            hook,
            ..
        } = plan;
        let (cert, key) = (quoted(&self.certificate()), quoted(&self.key()));
        let secret = quoted(&self.secret_file());
        let tls_files = format!("tls: {{ certificates: [ {{ cert: {cert}, key: {key} }} ] }}");
        let limits = format!("idle_limit: {IDLE_LIMIT}, close_timeout: 1s");
        let frames = format!("heartbeat: {{ {limits}, ping: {{ interval: {PING_INTERVAL} }} }}");
        let lines = format!(
            "framing: line\n    heartbeat: {{ {limits}, ping: {{ interval: {PING_INTERVAL}, data: \"ping\\n\", reply: \"pong\\n\" }} }}"
        );
        format!(
            "\
# What this demo runs with. sidebeat looks at it every 5s: change a limit, and open streams follow.
listeners:
  ws:
    listen: ws://{ws}
    upstream: ws://{app_ws}
    {frames}
  wss:
    listen: wss://{wss}
    upstream: ws://{app_ws}
    {tls_files}
    {frames}
  tcp:
    listen: tcp://{tcp}
    upstream: tcp://{app_tcp}
    {lines}
  tls:
    listen: tls://{tls}
    upstream: tcp://{app_tcp}
    {tls_files}
    {lines}
hooks:
  demo: {{ url: \"http://{hook}/\", events: [opened, closed, overdue], secret_file: {secret} }}
admin: {{ listen: \"{admin}\" }}
telemetry: {{ listen: \"{metrics}\" }}
drain: {{ delay: off, spread: off }}
"
        )
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // What cannot be removed is in a directory for such things.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A path as a YAML scalar in which nothing is replaced.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy().replace('$', "$$")).to_string()
}

fn write(path: &Path, text: &str) -> Result<(), HouseError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| HouseError::Write {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigSource, Flags};

    #[test]
    fn its_configuration_is_good_and_its_files_go_with_it() {
        let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let plan = Plan {
            proxy: [7000, 7001, 7002, 7003, 7004, 7005].map(at),
            app_ws: at(7006),
            app_tcp: at(7007),
            hook: at(7008),
        };
        let house = House::build(&plan).unwrap();
        let directory = house.directory.clone();
        let config = ConfigSource::new(Some(house.config_file()), Flags::default()).load();
        let config = config.unwrap();
        crate::server::preflight(&config).unwrap();
        let listens: Vec<_> = config.listeners.values().map(|l| l.listen).collect();
        assert_eq!(listens, [7000, 7001, 7002, 7003].map(at));
        assert!(config.drain.delay.is_zero() && config.drain.spread.is_zero());
        drop(house);
        assert!(!directory.exists());
    }
}
