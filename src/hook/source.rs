//! The CloudEvents `source` of this process.

use uuid::Uuid;

/// Writes `/sidebeat/{namespace}/{pod}/{boot id}`.
///
/// Namespace: `SIDEBEAT_POD_NAMESPACE` or `POD_NAMESPACE`, else `-`. Pod: `SIDEBEAT_POD_NAME` or `POD_NAME`, else the
/// host name, else `-`. What is not allowed in a segment of a URI is percent-encoded.
pub(super) fn of(boot_id: Uuid) -> String {
    source_from(boot_id, |name| std::env::var(name).ok(), host_name)
}

fn source_from(
    boot_id: Uuid,
    variable: impl Fn(&str) -> Option<String>,
    host: impl Fn() -> Option<String>,
) -> String {
    let first = |names: [&str; 2]| {
        let mut values = names.into_iter().filter_map(&variable);
        values.find(|value| !value.is_empty())
    };
    let namespace = first(["SIDEBEAT_POD_NAMESPACE", "POD_NAMESPACE"]);
    let pod = first(["SIDEBEAT_POD_NAME", "POD_NAME"]).or_else(host);
    let segment = |text: Option<String>| text.map_or_else(|| "-".to_owned(), |text| encode(&text));
    format!(
        "/sidebeat/{}/{}/{boot_id}",
        segment(namespace),
        segment(pod)
    )
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3).
fn encode(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_names_namespace_pod_and_boot() {
        let boot = Uuid::from_u128(9);
        let host = || Some("vm.example".to_owned());
        let of = |variables: &'static [(&'static str, &'static str)]| {
            let find = move |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            source_from(boot, find, host)
        };
        let source = of(&[("POD_NAMESPACE", "chat"), ("POD_NAME", "legacy-7d9f")]);
        assert_eq!(source, format!("/sidebeat/chat/legacy-7d9f/{boot}"));
        let source = of(&[("SIDEBEAT_POD_NAME", "a b/é"), ("POD_NAME", "other")]);
        assert_eq!(source, format!("/sidebeat/-/a%20b%2F%C3%A9/{boot}"));
        let source = of(&[("SIDEBEAT_POD_NAME", "")]);
        assert_eq!(source, format!("/sidebeat/-/vm.example/{boot}"));
        let source = source_from(boot, |_| None, || None);
        assert_eq!(source, format!("/sidebeat/-/-/{boot}"));
        assert!(host_name().is_some());
    }
}
