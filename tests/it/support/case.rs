//! Cases in files: what a client sends, what the app answers, and what must come of it.
//!
//! ```text
//! # RFC 9112 section 3.2: why the answer is right.
//! listener: plain              of the configuration in the test; `plain` if not given
//! client:                      lines indented by two blanks, put together without anything between them
//!   GET / HTTP/1.1\r\n         \r \n \t \0 \\ \xHH, and \{a*3} for aaa
//! client-then: shutdown        ends its side behind what it sends
//! app:                         what the app answers; 200 with the body `ok` if not given
//! app-after: TEXT              the app answers when it has heard this; `nothing`: at once; the end of the head if not given
//! app-then: shutdown           ends its side behind its answer
//! answers: 200 400 close       the statuses; close: and the end, open: another request is answered, `/head`: has no body
//! then:                        what the client sends behind the answers
//! tunnel: TEXT                 what the client gets behind a 101
//! answer-has: TEXT, answer-lacks: TEXT, reached-has: TEXT, reached-lacks: TEXT     of all that was answered, or that reached the app; any number of them
//! reached: nothing             or the number of connections to the app, or any
//! reached-ends: TEXT           the last that the app heard on its last connection
//! counted: bad_request         in the rejection metric, or none
//! ```

use std::collections::HashMap;
use std::path::Path;

/// A parsed file.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    fields: HashMap<String, Vec<Vec<u8>>>,
}

const KEYS: [&str; 17] = [
    "listener",
    "client",
    "client-then",
    "app",
    "app-after",
    "app-then",
    "answers",
    "then",
    "tunnel",
    "answer-has",
    "answer-lacks",
    "reached",
    "reached-has",
    "reached-lacks",
    "reached-ends",
    "counted",
    "requests",
];

impl Case {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(text.starts_with("# "), "{name} does not say why");
        let mut fields = HashMap::<String, Vec<Vec<u8>>>::new();
        let mut block = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(more) = line.strip_prefix("  ") {
                let key: &String = block.as_ref().unwrap_or_else(|| panic!("{name}: {line}"));
                let value: &mut Vec<u8> = fields.get_mut(key).unwrap().last_mut().unwrap();
                value.extend(unescape(more));
                continue;
            }
            let (key, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(KEYS.contains(&key), "{name}: {key}?");
            fields
                .entry(key.to_owned())
                .or_default()
                .push(unescape(value.trim()));
            block = value.is_empty().then(|| key.to_owned());
        }
        for needed in ["client", "answers", "reached", "counted"] {
            assert!(fields.contains_key(needed), "{name} does not say {needed}");
        }
        Self { name, fields }
    }

    /// The value of a key that is there once or not at all.
    pub(crate) fn bytes(&self, key: &str) -> Option<&[u8]> {
        let [value] = self.all(key) else {
            assert!(self.all(key).is_empty(), "{}: {key} twice", self.name);
            return None;
        };
        Some(value)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.bytes(key).map(|value| str::from_utf8(value).unwrap())
    }

    /// Each value of a key.
    pub(crate) fn all(&self, key: &str) -> &[Vec<u8>] {
        self.fields.get(key).map_or(&[], Vec::as_slice)
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(place) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..place]);
        let escape = &rest[place + 1..];
        let (value, length) = match escape.as_bytes()[0] {
            b'r' => (vec![b'\r'], 1),
            b'n' => (vec![b'\n'], 1),
            b't' => (vec![b'\t'], 1),
            b'0' => (vec![0], 1),
            b'\\' => (vec![b'\\'], 1),
            b'x' => (vec![u8::from_str_radix(&escape[1..3], 16).unwrap()], 3),
            b'{' => {
                let end = escape.find('}').expect(text);
                let (what, count) = escape[1..end].rsplit_once('*').expect(text);
                (unescape(what).repeat(count.parse().expect(text)), end + 1)
            }
            _ => panic!("an escape that is none: {text}"),
        };
        bytes.extend(value);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
