//! The effective configuration as the API shows it: the keys of the file, every default filled in.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::payload::format_payload;
use super::ready::{
    Admin, AdminAddress, Config, Hook, IdentityRule, Limits, Listener, Tls, UpstreamTls,
};
use super::units::{format_duration, format_percent, format_size};
use super::words::Word;
use crate::proto::framing::{Framing, Payload};
use crate::proto::heart::Policy;

impl Config {
    /// The configuration in the form of its file. Secrets are in files and are not read; userinfo and query of URLs are removed.
    pub fn redacted(&self) -> Value {
        let listeners: Map<String, Value> = self
            .listeners
            .iter()
            .map(|(name, listener)| (name.clone(), show_listener(listener)))
            .collect();
        let hooks: Map<String, Value> = self
            .hooks
            .iter()
            .map(|(name, hook)| (name.clone(), show_hook(hook)))
            .collect();
        json!({
            "listeners": listeners,
            "hooks": hooks,
            "state_dir": self.state_dir.as_ref().map_or(off(), |path| json!(path.display().to_string())),
            "admin": self.admin.as_ref().map_or(off(), show_admin),
            "telemetry": self.telemetry.map_or(off(), |listen| json!({ "listen": listen })),
            "drain": {
                "delay": limit(Some(self.drain.delay).filter(|d| !d.is_zero())),
                "spread": limit(Some(self.drain.spread).filter(|d| !d.is_zero())),
                "close_code": self.drain.close_code,
                "hook_flush": duration(self.drain.hook_flush),
            },
            "workers": self.workers.map_or(json!("auto"), |workers| json!(workers)),
            "log": { "format": self.log.format.word(), "level": self.log.level.word() },
        })
    }
}

fn show_listener(listener: &Listener) -> Value {
    let websocket = listener.protocol.is_websocket();
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put(
        "listen",
        json!(format!(
            "{}://{}",
            listener.protocol.as_str(),
            listener.listen
        )),
    );
    // An upstream cannot have userinfo or a query.
    put("upstream", json!(listener.upstream.url));
    if let Some(tls) = &listener.upstream.tls {
        put("upstream_tls", show_upstream_tls(tls));
    }
    if let Some(tls) = &listener.tls {
        put("tls", show_tls(tls));
    }
    put("connect_timeout", duration(listener.connect_timeout));
    if websocket {
        put("answer_timeout", duration(listener.answer_timeout));
        put("http", json!(listener.http.word()));
        put("http_timeout", duration(listener.http_timeout));
        put("trusted_proxies", json!(listener.trusted_proxies));
    } else {
        put("framing", show_framing(listener.framing));
    }
    put("heartbeat", show_heartbeat(listener));
    let identity: Vec<Value> = listener.identity.iter().map(show_rule).collect();
    put("identity", json!(identity));
    put("limits", show_limits(listener, &listener.limits));
    let accept = match listener.accept_proxy.as_slice() {
        [] => off(),
        networks => json!(networks),
    };
    let send = listener.send_proxy.map_or(off(), |v| json!(v.word()));
    put("proxy_protocol", json!({ "accept": accept, "send": send }));
    Value::Object(map)
}

fn show_heartbeat(listener: &Listener) -> Value {
    let Policy {
        idle_limit,
        idle_counts,
        ping,
        upstream_ping,
        upstream_idle_limit,
        quiet_limit,
        first_message_limit,
        max_age,
        max_age_jitter,
        stall_limit,
        half_close_limit,
        close_timeout,
        mode,
    } = &listener.heartbeat;
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("idle_limit", limit(*idle_limit));
    put("idle_counts", json!(idle_counts.word()));
    let mut shown = Map::new();
    if let Some(ping) = ping {
        shown.insert("interval".to_owned(), duration(ping.interval));
        shown.insert("jitter".to_owned(), json!(format_percent(ping.jitter)));
        shown.insert("when".to_owned(), json!(ping.when.word()));
    }
    let payload = |payload: &Payload| json!(format_payload(payload));
    if let Some(data) = &listener.ping_data {
        shown.insert("data".to_owned(), payload(data));
    }
    if let Some(reply) = &listener.ping_reply {
        shown.insert("reply".to_owned(), payload(reply));
    }
    put(
        "ping",
        if shown.is_empty() {
            off()
        } else {
            Value::Object(shown)
        },
    );
    if listener.protocol.is_websocket() {
        put("upstream_ping", limit(*upstream_ping));
    } else {
        put("half_close_limit", limit(*half_close_limit));
    }
    put("upstream_idle_limit", limit(*upstream_idle_limit));
    put("quiet_limit", limit(*quiet_limit));
    if listener.protocol.is_websocket() || listener.framing != Framing::Raw {
        put("first_message_limit", limit(*first_message_limit));
    }
    put("max_age", limit(*max_age));
    put("max_age_jitter", json!(format_percent(*max_age_jitter)));
    put("stall_limit", limit(*stall_limit));
    put("close_timeout", duration(*close_timeout));
    put("mode", json!(mode.word()));
    Value::Object(map)
}

fn show_limits(listener: &Listener, limits: &Limits) -> Value {
    let count = |count: Option<usize>| count.map_or(off(), |count| json!(count));
    let rate = |rate: Option<u32>| rate.map_or(off(), |rate| json!(rate));
    let websocket = listener.protocol.is_websocket();
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("streams", json!(limits.streams));
    put("streams_per_ip", count(limits.streams_per_ip));
    put("opens_per_second", rate(limits.opens_per_second));
    put(
        "opens_per_second_per_ip",
        rate(limits.opens_per_second_per_ip),
    );
    if websocket || listener.protocol.is_tls() || !listener.accept_proxy.is_empty() {
        put("handshake_timeout", duration(limits.handshake_timeout));
    }
    if websocket {
        put(
            "request_head",
            json!(format_size(limits.request_head as u64)),
        );
    }
    if websocket || listener.framing != Framing::Raw {
        let message = limits
            .message
            .map_or(off(), |size| json!(format_size(size)));
        put("message", message);
    }
    Value::Object(map)
}

fn show_framing(framing: Framing) -> Value {
    match framing {
        Framing::Raw => json!("raw"),
        Framing::Line { .. } => json!("line"),
        Framing::LengthPrefix {
            bytes,
            includes_itself,
            max,
        } => json!({ "length_prefix": {
            "bytes": bytes, "includes_itself": includes_itself, "max": format_size(max),
        } }),
    }
}

fn show_rule(rule: &IdentityRule) -> Value {
    match rule {
        IdentityRule::ResponseHeader(name) => json!({ "response_header": name.as_str() }),
        IdentityRule::Query(name) => json!({ "query": name }),
        IdentityRule::Header(name) => json!({ "header": name.as_str() }),
        IdentityRule::Cookie(name) => json!({ "cookie": name }),
        IdentityRule::FirstMessage => json!({ "first_message": "whole" }),
    }
}

fn show_tls(tls: &Tls) -> Value {
    let pairs: Vec<Value> = tls
        .certificates
        .iter()
        .map(|pair| {
            json!({ "cert": pair.cert.display().to_string(), "key": pair.key.display().to_string() })
        })
        .collect();
    let mut map = Map::new();
    map.insert("certificates".to_owned(), json!(pairs));
    if let Some(ca) = &tls.client_ca {
        put_path(&mut map, "client_ca", Some(ca));
        map.insert("client_auth".to_owned(), json!(tls.client_auth.word()));
    }
    map.insert("min_version".to_owned(), json!(tls.min_version.word()));
    Value::Object(map)
}

fn show_upstream_tls(tls: &UpstreamTls) -> Value {
    let mut map = Map::new();
    put_path(&mut map, "ca", tls.ca.as_ref());
    map.insert("server_name".to_owned(), json!(tls.server_name));
    if let Some(pair) = &tls.identity {
        put_path(&mut map, "cert", Some(&pair.cert));
        put_path(&mut map, "key", Some(&pair.key));
    }
    Value::Object(map)
}

fn show_hook(hook: &Hook) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("url", json!(without_secrets(&hook.url)));
    let events: Vec<&str> = hook.events.iter().map(|event| event.word()).collect();
    put("events", json!(events));
    if let Some(listeners) = &hook.listeners {
        put("listeners", json!(listeners));
    }
    put("timeout", duration(hook.timeout));
    put("rate", json!(hook.rate));
    put("give_up_after", duration(hook.give_up_after));
    put_path(&mut map, "secret_file", hook.secret_file.as_ref());
    put_path(&mut map, "ca", hook.ca.as_ref());
    put_path(
        &mut map,
        "bearer_token_file",
        hook.bearer_token_file.as_ref(),
    );
    Value::Object(map)
}

fn show_admin(admin: &Admin) -> Value {
    let listen = match &admin.listen {
        AdminAddress::Tcp(address) => address.to_string(),
        AdminAddress::Unix(path) => format!("unix:{}", path.display()),
    };
    let mut map = Map::new();
    map.insert("listen".to_owned(), json!(listen));
    put_path(&mut map, "token_file", admin.token_file.as_ref());
    map.insert("hosts".to_owned(), json!(admin.hosts));
    Value::Object(map)
}

/// Scheme, host, port and path.
fn without_secrets(url: &http::Uri) -> String {
    let authority = url.authority().map_or("", |a| a.as_str());
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!(
        "{}://{host}{}",
        url.scheme_str().unwrap_or("http"),
        url.path()
    )
}

fn put_path(map: &mut Map<String, Value>, key: &str, path: Option<&PathBuf>) {
    if let Some(path) = path {
        map.insert(key.to_owned(), json!(path.display().to_string()));
    }
}

fn duration(duration: Duration) -> Value {
    json!(format_duration(duration))
}

fn limit(limit: Option<Duration>) -> Value {
    limit.map_or(off(), duration)
}

fn off() -> Value {
    json!("off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_and_query_of_urls_are_removed() {
        for (url, shown) in [
            (
                "http://user:pass@app:8080/hook?token=1",
                "http://app:8080/hook",
            ),
            ("https://app", "https://app/"),
            ("https://[::1]:1/a", "https://[::1]:1/a"),
        ] {
            assert_eq!(without_secrets(&url.parse().unwrap()), shown);
        }
    }
}
