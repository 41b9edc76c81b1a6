//! What the process says of itself.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use super::{Server, Shared};
use crate::admin::control::{
    CertificateStatus, ConfigurationStatus, HookLogStatus, HookStatus, ListenerStatus, State,
    Status,
};
use crate::metrics::SILENT_OVER;
use crate::proto::cause::End;

impl Server {
    pub(super) fn status(&self) -> Status {
        let reloads = &self.reloads;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            state: match &self.drain {
                None => State::Running,
                Some(drain) if drain.events_left.is_some() => State::Drained,
                Some(_) => State::Draining,
            },
            listeners: self.listener_status(),
            hooks: self
                .shared
                .hooks
                .status()
                .into_iter()
                .map(|hook| {
                    (
                        hook.name.to_string(),
                        HookStatus {
                            queued: hook.queued as u64,
                            disabled: hook.disabled,
                        },
                    )
                })
                .collect(),
            hook_log: self.shared.hooks.log_status().map(|log| HookLogStatus {
                bytes: log.bytes,
                failing: log.failing,
                skipped_bytes: log.skipped_bytes,
            }),
            certificates: self.certificate_status(),
            configuration: ConfigurationStatus {
                generation: reloads.generation,
                loaded_at: humantime::format_rfc3339_millis(reloads.loaded_at).to_string(),
                last_error: reloads.last_error.clone(),
            },
        }
    }

    /// Names the certificates that should have been renewed.
    pub(super) fn warn_of_expiry(&self) {
        let now = SystemTime::now();
        for (name, running) in &self.workers.listeners {
            let tls = running.listener.tls.as_ref();
            for certificate in tls.map(|tls| tls.certificates()).unwrap_or_default() {
                if certificate.renewal_due <= now {
                    let not_after = humantime::format_rfc3339_seconds(certificate.not_after);
                    let (listener, path) = (name, certificate.path.display());
                    tracing::warn!(listener, %path, %not_after, "the certificate ends soon or has ended: renew it, it is read again by itself");
                }
            }
        }
    }

    fn listener_status(&self) -> BTreeMap<String, ListenerStatus> {
        let describe = |running: &super::workers::Running| {
            let listener = &running.listener;
            ListenerStatus {
                address: running.address.clone(),
                streams: listener.metrics.active.get().max(0) as u64,
                closing: listener.metrics.closing.get().max(0) as u64,
                streams_limit: listener.streams_limit() as u64,
            }
        };
        self.workers
            .listeners
            .iter()
            .map(|(name, running)| (name.clone(), describe(running)))
            .collect()
    }

    fn certificate_status(&self) -> Vec<CertificateStatus> {
        let mut all = Vec::new();
        for (name, running) in &self.workers.listeners {
            let certificates = running
                .listener
                .tls
                .as_ref()
                .map(|tls| tls.certificates())
                .unwrap_or_default();
            all.extend(
                certificates
                    .into_iter()
                    .enumerate()
                    .map(|(certificate, info)| CertificateStatus {
                        listener: name.clone(),
                        certificate,
                        not_after: humantime::format_rfc3339_millis(info.not_after).to_string(),
                    }),
            );
        }
        all
    }
}

/// Brings `sidebeat_streams_silent` up to date.
pub(super) fn count_silent(shared: &Shared) {
    let mut counts = HashMap::<_, [[u64; SILENT_OVER.len()]; 2]>::new();
    shared.registry.for_each(|entry| {
        let now = entry.age();
        let of_listener = counts.entry(entry.opening.listener.clone()).or_default();
        for from in End::BOTH {
            let silence = entry.figures.silence(from, now);
            for (count, (over, _)) in of_listener[from as usize].iter_mut().zip(SILENT_OVER) {
                *count += u64::from(silence >= over);
            }
        }
    });
    shared.metrics.for_each_listener(|name, listener| {
        let counts = counts.remove(name).unwrap_or_default();
        for from in End::BOTH {
            listener.set_silent(from, counts[from as usize]);
        }
    });
}
