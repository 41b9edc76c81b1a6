use super::*;
use crate::config::{ConfigSource, Environment, Flags};

/// The report on a file of this text; `$DIR` holds a secret.
fn checked(text: &str, grace: Option<&str>) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sidebeat.yaml");
    std::fs::write(&file, text).unwrap();
    std::fs::write(directory.path().join("secret"), "whsec_c2VjcmV0").unwrap();
    let source = ConfigSource {
        file: Some(file),
        flags: Flags::default(),
        environment: Environment::from([(
            "DIR".to_owned(),
            directory.path().to_str().unwrap().to_owned(),
        )]),
    };
    report(
        &source.load().unwrap(),
        grace.map(|grace| parse_duration(grace).unwrap()),
    )
}

fn ws(rest: &str) -> String {
    let text = format!(
        "listeners: {{ chat: {{ listen: 'ws://0.0.0.0:1', upstream: 'ws://app:2', {rest} }} }}"
    );
    checked(&text, None)
}

fn tcp(rest: &str) -> String {
    let text = format!(
        "listeners: {{ raw: {{ listen: 'tcp://0.0.0.0:1', upstream: 'tcp://app:2', {rest} }} }}"
    );
    checked(&text, None)
}

fn hold(report: &str, expected: &[&str]) {
    for part in expected {
        assert!(report.contains(part), "{part}\nis not in\n{report}");
    }
}

#[test]
fn a_pinged_client_is_found_within_its_limit() {
    hold(
        &ws("heartbeat: { idle_limit: 60s, ping: { interval: 20s, jitter: 50% } }"),
        &[
            "a dead client is closed 30s to 60s after its death: 60s after its last byte, and it is asked at the latest 30s after that",
        ],
    );
}

#[test]
fn without_answers_that_count_death_may_be_found_at_once() {
    for heartbeat in [
        "idle_limit: 55s, ping: off",
        "idle_limit: 55s, idle_counts: messages",
    ] {
        hold(
            &ws(&format!("heartbeat: {{ {heartbeat} }}")),
            &[
                "a dead client is closed 0s to 55s after its death",
                "nothing makes it send one",
            ],
        );
    }
    hold(
        &ws(
            "heartbeat: { idle_limit: 55s, idle_counts: messages, ping: { interval: 20s, jitter: 0%, data: ping, reply: pong } }",
        ),
        &["a dead client is closed 35s to 55s after its death"],
    );
}

#[test]
fn without_a_limit_only_tcp_itself_finds_the_vanished() {
    // Without TCP_USER_TIMEOUT the third probe decides.
    hold(
        &tcp("heartbeat: { stall_limit: off }"),
        &[
            "vanishes is found about 30s to 55s later, by TCP alone: keepalive after 25s, then 3 x 10s\n",
            "is never found: set idle_limit",
        ],
    );
    // With it the first probe after 60s + 5s does.
    hold(
        &tcp(""),
        &[
            "found about 40s to 65s later",
            "TCP_USER_TIMEOUT 65s",
            "wait for it for 60s (stall_limit)",
        ],
    );
    hold(
        &tcp("heartbeat: { close_timeout: 1s }"),
        &["found about 40s to 65s later", "TCP_USER_TIMEOUT 61s"],
    );
    hold(
        &tcp("heartbeat: { close_timeout: 6s }"),
        &["found about 50s to 75s later"],
    );
    hold(
        &ws("heartbeat: { idle_limit: off, ping: { interval: 20s, jitter: 0% } }"),
        &[
            "found about 65s to 85s later",
            "a ping not acknowledged for TCP_USER_TIMEOUT 65s",
        ],
    );
    hold(
        &ws("heartbeat: { mode: observe }"),
        &[
            "is reported as overdue, not closed, 27s775ms to 55s",
            "tcp_retries2",
        ],
    );
}

#[test]
fn each_surprise_is_warned_of() {
    for (rest, warning) in [
        (
            "heartbeat: { ping: off }",
            "sooner: nginx 60s, Cloudflare 100s, AWS API Gateway 10m, Envoy 1h. If one is on the way, turn ping on",
        ),
        (
            "heartbeat: { idle_limit: 10m, ping: { interval: 90s, jitter: 0% } }",
            "only every 90s; by default these cut an idle connection sooner: nginx 60s. If one",
        ),
        (
            "heartbeat: { idle_limit: 10m, ping: { interval: 55s } }",
            "only every 60s500ms; by default",
        ),
        (
            "heartbeat: { ping: off }",
            "is closed like a dead one, since it is not asked",
        ),
        ("", "start with `mode: observe`"),
        (
            "heartbeat: { idle_counts: messages }",
            "does not count what answers a ping",
        ),
        (
            "heartbeat: { upstream_idle_limit: 5s }",
            "nothing to say for 5s ends the stream (upstream_idle_limit): set upstream_ping",
        ),
        (
            "identity: [ { query: uid }, { cookie: sid } ]",
            "forge its uid by query uid, cookie sid",
        ),
        (
            "identity: [ first_message: whole ]",
            "read for identity first_message: permessage-deflate is taken out",
        ),
        (
            "heartbeat: { ping: { reply: pong } }",
            "read for ping.reply: permessage-deflate is taken out",
        ),
        (
            "heartbeat: { max_age: 3h }",
            "max_age 3h is longer than AWS API Gateway allows",
        ),
    ] {
        hold(&ws(rest), &["\n  warning: ", warning]);
    }
    for (rest, warning) in [
        (
            "",
            "AWS NLB 5m50s, nginx 10m, Envoy 1h. If one is on the way, set ping.data",
        ),
        (
            "heartbeat: { idle_limit: 20s, ping: { data: x } }",
            "only while the app is silent",
        ),
        (
            "heartbeat: { upstream_idle_limit: 5s }",
            "turn it off unless the app sends",
        ),
    ] {
        hold(&tcp(rest), &["\n  warning: ", warning]);
    }
}

#[test]
fn what_is_in_order_is_not_warned_of() {
    let observed =
        ws("heartbeat: { mode: observe, upstream_ping: 2s, upstream_idle_limit: 5s, max_age: 2h }");
    assert!(!observed.contains("warning"), "{observed}");
    let framed = tcp("framing: line, heartbeat: { ping: { data: \"p\\n\", reply: \"q\\n\" } }");
    assert!(!framed.contains("warning"), "{framed}");
}

#[test]
fn hooks_are_warned_of_what_they_lack() {
    let listener = "listeners: { chat: { listen: 'ws://0.0.0.0:1', upstream: 'ws://app:2' } }\n";
    let bare = checked(
        &format!("{listener}hooks: {{ app: {{ url: 'http://app:2/' }} }}"),
        None,
    );
    hold(&bare, &["hook app: closed", "not signed", "set state_dir"]);
    let full = format!(
        "{listener}hooks: {{ app: {{ url: 'http://app:2/', secret_file: '${{DIR}}/secret' }} }}\nstate_dir: '${{DIR}}/state'"
    );
    let full = checked(&full, None);
    assert!(
        !full.contains("not signed") && !full.contains("state_dir"),
        "{full}"
    );
}

#[test]
fn the_longest_drain_is_added_up() {
    let text = "listeners: { chat: { listen: 'ws://0.0.0.0:1', upstream: 'ws://app:2', heartbeat: { close_timeout: 7s } } }\ndrain: { delay: 20s, spread: 30s, hook_flush: 3s }";
    let enough = checked(text, Some("61s"));
    hold(
        &enough,
        &[
            "a drain takes at most 60s: delay 20s + spread 30s + close_timeout 7s + hook_flush 3s",
            "the app needs a preStop sleep of 57s",
        ],
    );
    assert!(!enough.contains("grace period"), "{enough}");
    hold(
        &checked(text, Some("45s")),
        &[
            "the grace period of 45s ends 15s before the drain: raise terminationGracePeriodSeconds to 61",
        ],
    );
    assert!(!checked(text, None).contains("drain takes"));
}
