//! Which streams are meant.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::entry::Entry;
use super::identity::{TAG_MAX, TAGS_MAX, UID_MAX, is_word};
use crate::config::parse_duration;
use crate::proto::cause::End;

/// The parameters of a selector, in the order of the documentation.
pub const PARAMETERS: [&str; 6] = ["listener", "uid", "tag", "client", "idle_over", "age_over"];

/// Which streams are meant: those that fit every part that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Name of the listener.
    pub listener: Option<String>,
    /// Who the client is.
    pub uid: Option<String>,
    /// Tags, all of which it carries.
    pub tags: Vec<String>,
    /// The client's network.
    pub client: Option<IpNet>,
    /// Nothing was heard from the client for longer than this.
    pub idle_over: Option<Duration>,
    /// Open for longer than this.
    pub age_over: Option<Duration>,
}

impl Selector {
    /// Takes one parameter. The error says what to write instead.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "listener" => once(&mut self.listener, word(value, usize::MAX)?),
            "uid" => once(&mut self.uid, word(value, UID_MAX)?),
            "tag" => {
                if self.tags.len() == TAGS_MAX {
                    return Err(format!("a stream has at most {TAGS_MAX} tags"));
                }
                self.tags.push(word(value, TAG_MAX)?);
                Ok(())
            }
            "client" => once(&mut self.client, network(value)?),
            "idle_over" => once(&mut self.idle_over, duration(value)?),
            "age_over" => once(&mut self.age_over, duration(value)?),
            _ => Err(format!(
                "no part of a selector; it has {}",
                PARAMETERS.join(", ")
            )),
        }
    }

    /// Whether nothing is given, which selects everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether uid and tags, which are looked up and not compared, are all that is given.
    pub(super) fn is_words_only(&self) -> bool {
        let words = Self {
            uid: self.uid.clone(),
            tags: self.tags.clone(),
            ..Self::default()
        };
        *self == words
    }

    /// Whether a stream whose uid and tags fit fits the rest.
    pub(super) fn fits(&self, entry: &Entry) -> bool {
        let listener = |name: &String| *name == *entry.opening.listener;
        let client = |network: &IpNet| network.contains(&entry.opening.client.ip().to_canonical());
        let idle = |over: Duration| entry.figures.silence(End::Client, entry.age()) > over;
        self.listener.as_ref().is_none_or(listener)
            && self.client.as_ref().is_none_or(client)
            && self.age_over.is_none_or(|over| entry.age() > over)
            && self.idle_over.is_none_or(idle)
    }
}

fn once<T>(part: &mut Option<T>, value: T) -> Result<(), String> {
    match part.replace(value) {
        None => Ok(()),
        Some(_) => Err("may be given once".to_owned()),
    }
}

fn word(value: &str, max: usize) -> Result<String, String> {
    if is_word(value, max) {
        Ok(value.to_owned())
    } else if max == usize::MAX {
        Err("write a name, without control characters".to_owned())
    } else {
        Err(format!("write 1 to {max} bytes without control characters"))
    }
}

fn network(value: &str) -> Result<IpNet, String> {
    let host = |address: IpAddr| IpNet::from(address.to_canonical());
    let parsed = value.parse().map(host).or_else(|_| value.parse::<IpNet>());
    parsed.map_err(|_| {
        "write an address such as 192.0.2.7 or a network such as 192.0.2.0/24".to_owned()
    })
}

fn duration(value: &str) -> Result<Duration, String> {
    parse_duration(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parameters: &[(&str, &str)]) -> Result<Selector, String> {
        let mut selector = Selector::default();
        for (name, value) in parameters {
            selector.set(name, value)?;
        }
        Ok(selector)
    }

    #[test]
    fn every_part_is_read() {
        let selector = read(&[
            ("listener", "chat"),
            ("uid", "42"),
            ("tag", "room:7"),
            ("tag", "a,b"),
            ("client", "10.0.0.0/8"),
            ("idle_over", "30s"),
            ("age_over", "1h30m"),
        ]);
        let selector = selector.unwrap();
        assert_eq!(selector.tags, ["room:7", "a,b"]);
        assert_eq!(selector.client, Some("10.0.0.0/8".parse().unwrap()));
        assert_eq!(selector.idle_over, Some(Duration::from_secs(30)));
        assert_eq!(selector.age_over, Some(Duration::from_secs(5400)));
        assert!(!selector.is_words_only() && !selector.is_empty());
        assert!(read(&[("tag", "a"), ("uid", "b")]).unwrap().is_words_only());
        assert!(read(&[]).unwrap().is_empty());
        let mapped = read(&[("client", "::ffff:192.0.2.7")]).unwrap();
        assert_eq!(mapped.client, Some("192.0.2.7/32".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let long = "x".repeat(129);
        let bad: [&[(&str, &str)]; 17] = [
            &[("tag", "x"); TAGS_MAX + 1],
            &[("listener", "")],
            &[("uid", "")],
            &[("uid", &long)],
            &[("uid", "a\nb")],
            &[("tag", &long[..65])],
            &[("client", "example.com")],
            &[("client", "10.0.0.0/33")],
            &[("client", "10.0.0")],
            &[("idle_over", "30")],
            &[("idle_over", "0s")],
            &[("idle_over", "off")],
            &[("age_over", "-1s")],
            &[("age_over", "9999d")],
            &[("uid", "1"), ("uid", "1")],
            &[("client", "::1"), ("client", "::2")],
            &[("idle", "30s")],
        ];
        for parameters in bad {
            assert!(read(parameters).is_err(), "{parameters:?}");
        }
    }
}
