//! The whole configuration, from as written to ready.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use super::address::{is_loopback, parse_admin, parse_socket};
use super::error::{ConfigError, Place};
use super::hook::{hidden_path, hook};
use super::kinds::{Off, Text};
use super::leaf::{Leaf, OrMap};
use super::listener::{listener, seconds};
use super::raw::{RawAdmin, RawConfig, RawDrain, RawLog, RawTelemetry};
use super::reader::Reader;
use super::ready::{Admin, AdminAddress, Config, Drain, Hook, Listener, Log, LogFormat};

/// The longest name of a listener or hook.
const LONGEST_NAME: usize = 64;

/// Reads a configuration.
pub(super) fn config(reader: &Reader<'_>, raw: &RawConfig) -> Result<Config, ConfigError> {
    let mut addresses = Addresses::default();
    let mut listeners = listeners(reader, raw, &mut addresses)?;
    let hooks = hooks(reader, raw, &listeners)?;
    for listener in listeners.values_mut() {
        for hook in hooks.values() {
            listener
                .hidden_paths
                .extend(hidden_path(&hook.url, &listener.upstream));
        }
    }
    Ok(Config {
        listeners: listeners
            .into_iter()
            .map(|(name, listener)| (name, Arc::new(listener)))
            .collect(),
        hooks,
        state_dir: state_dir(reader, raw)?,
        admin: admin(reader, raw.admin.get(), &mut addresses)?,
        telemetry: telemetry(reader, raw.telemetry.get(), &mut addresses)?,
        drain: drain(reader, raw.drain.get())?,
        workers: reader.or(&raw.workers, "workers", None)?,
        log: log(reader, raw.log.get())?,
    })
}

fn listeners(
    reader: &Reader<'_>,
    raw: &RawConfig,
    addresses: &mut Addresses,
) -> Result<IndexMap<String, Listener>, ConfigError> {
    let mut listeners = IndexMap::new();
    for (name, block) in raw.listeners.get().into_iter().flatten() {
        check_name(reader, block.place, name)?;
        let ready = listener(reader, name, &block.value)?;
        let owner = format!("listener {name}");
        addresses.add(reader, &block.value.listen, ready.listen, owner)?;
        listeners.insert(name.clone(), ready);
    }
    if listeners.is_empty() {
        return Err(reader.page.at_start(
            "there is no listener: add `listeners: { NAME: { listen: ws://0.0.0.0:8080, upstream: ws://127.0.0.1:8000 } }`, or give --listen and --upstream",
        ));
    }
    Ok(listeners)
}

fn hooks(
    reader: &Reader<'_>,
    raw: &RawConfig,
    listeners: &IndexMap<String, Listener>,
) -> Result<IndexMap<String, Hook>, ConfigError> {
    let mut hooks = IndexMap::new();
    for (name, block) in raw.hooks.get().into_iter().flatten() {
        check_name(reader, block.place, name)?;
        hooks.insert(name.clone(), hook(reader, &block.value, listeners)?);
    }
    Ok(hooks)
}

/// Names become labels, file names and arguments of commands.
fn check_name(reader: &Reader<'_>, place: Place, name: &str) -> Result<(), ConfigError> {
    let fits = (1..=LONGEST_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if fits {
        return Ok(());
    }
    let message =
        format!("`{name}` is no name: write 1 to {LONGEST_NAME} letters, digits, `_`, `.` or `-`");
    Err(reader.page.at_key(place, name, message))
}

fn state_dir(reader: &Reader<'_>, raw: &RawConfig) -> Result<Option<PathBuf>, ConfigError> {
    let Some(leaf) = raw.state_dir.get() else {
        return Ok(None);
    };
    let path = reader.get(leaf, "state_dir")?;
    match &path {
        Some(path) if path.exists() && !path.is_dir() => Err(reader.wrong(
            leaf,
            "state_dir",
            &format!(
                "{} is a file: write the path of a directory",
                path.display()
            ),
        )),
        _ => Ok(path),
    }
}

fn admin(
    reader: &Reader<'_>,
    raw: Option<&OrMap<Off, RawAdmin>>,
    addresses: &mut Addresses,
) -> Result<Option<Admin>, ConfigError> {
    let none = RawAdmin::default();
    let raw = match raw {
        None => &none,
        Some(OrMap::Map(map, _)) => map,
        Some(OrMap::Scalar(leaf)) => return reader.get(leaf, "admin").map(|()| None),
    };
    let token_file = reader.file_option(&raw.token_file, "token_file")?;
    let default = AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 9600)));
    let listen = match raw.listen.get() {
        None => default,
        Some(leaf) => reader.parse(leaf, "listen", parse_admin)?,
    };
    if let (AdminAddress::Tcp(address), Some(leaf)) = (&listen, raw.listen.get()) {
        if token_file.is_none() && !is_loopback(address.ip()) {
            let message = format!(
                "{address} can be reached from outside: add `token_file: FILE`, or listen on 127.0.0.1 or unix:/path"
            );
            return Err(reader.wrong(leaf, "listen", &message));
        }
        addresses.add(reader, leaf, *address, "admin".to_owned())?;
    } else if let AdminAddress::Tcp(address) = &listen {
        addresses.add_default(reader, *address, "admin")?;
    }
    let mut hosts = Vec::new();
    for leaf in raw.hosts.get().into_iter().flatten() {
        let host = reader.get(leaf, "hosts")?;
        if host.contains([':', '/', ' ', '*']) {
            let message = format!("`{host}` is no host name: write it without scheme, port or `*`");
            return Err(reader.wrong(leaf, "hosts", &message));
        }
        hosts.push(host.to_ascii_lowercase());
    }
    Ok(Some(Admin {
        listen,
        token_file,
        hosts,
    }))
}

fn telemetry(
    reader: &Reader<'_>,
    raw: Option<&OrMap<Off, RawTelemetry>>,
    addresses: &mut Addresses,
) -> Result<Option<SocketAddr>, ConfigError> {
    let listen = match raw {
        None => None,
        Some(OrMap::Map(map, _)) => map.listen.get(),
        Some(OrMap::Scalar(leaf)) => return reader.get(leaf, "telemetry").map(|()| None),
    };
    let Some(leaf) = listen else {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 9601));
        addresses.add_default(reader, address, "telemetry")?;
        return Ok(Some(address));
    };
    let address = reader.parse(leaf, "listen", parse_socket)?;
    addresses.add(reader, leaf, address, "telemetry".to_owned())?;
    Ok(Some(address))
}

fn drain(reader: &Reader<'_>, raw: Option<&RawDrain>) -> Result<Drain, ConfigError> {
    let none = RawDrain::default();
    let raw = raw.unwrap_or(&none);
    Ok(Drain {
        delay: reader
            .or(&raw.delay, "delay", Some(seconds(5)))?
            .unwrap_or_default(),
        spread: reader
            .or(&raw.spread, "spread", Some(seconds(10)))?
            .unwrap_or_default(),
        close_code: reader.or(&raw.close_code, "close_code", 1012)?,
        hook_flush: reader.or(&raw.hook_flush, "hook_flush", seconds(5))?,
    })
}

fn log(reader: &Reader<'_>, raw: Option<&RawLog>) -> Result<Log, ConfigError> {
    let none = RawLog::default();
    let raw = raw.unwrap_or(&none);
    Ok(Log {
        format: reader.or(&raw.format, "format", LogFormat::Auto)?,
        level: reader.or(&raw.level, "level", tracing::Level::INFO)?,
    })
}

/// The sockets claimed so far and by whom.
#[derive(Debug, Default)]
struct Addresses(HashMap<SocketAddr, String>);

impl Addresses {
    fn add(
        &mut self,
        reader: &Reader<'_>,
        leaf: &Leaf<Text>,
        address: SocketAddr,
        owner: String,
    ) -> Result<(), ConfigError> {
        if let Some(other) = self.owner(address) {
            let message = format!("{address} is taken by {other}: write another port");
            return Err(reader.wrong(leaf, "listen", &message));
        }
        self.0.insert(address, owner);
        Ok(())
    }

    fn add_default(
        &mut self,
        reader: &Reader<'_>,
        address: SocketAddr,
        owner: &str,
    ) -> Result<(), ConfigError> {
        if let Some(other) = self.owner(address) {
            return Err(reader.page.at_start(format!(
                "{owner} listens on {address} unless told otherwise, and {other} took that: write `{owner}: {{ listen: ADDRESS }}` or `{owner}: off`, or give --{owner}"
            )));
        }
        self.0.insert(address, owner.to_owned());
        Ok(())
    }

    /// Who claimed the same socket; `[::]` is dual stack and takes `0.0.0.0` with it. Port 0 is never the same twice.
    fn owner(&self, address: SocketAddr) -> Option<&String> {
        if address.port() == 0 {
            return None;
        }
        let same = |ip: IpAddr| self.0.get(&SocketAddr::new(ip, address.port()));
        match address.ip() {
            ip if ip.is_unspecified() => same(IpAddr::from([0; 4])).or(same(IpAddr::from([0; 16]))),
            ip => same(ip),
        }
    }
}
