//! A client's view of answers: read by the letter, and nothing forgiven.

use std::io::Read;

/// What was asked, as far as it says whether an answer has a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Up to the empty line, as it came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads one answer to its end, and not a byte more.
    pub(crate) fn read(stream: &mut impl Read, asked: Method) -> Self {
        Self::try_read(stream, asked).expect("an answer")
    }

    /// The same; `None` if the connection ends before the first byte.
    pub(crate) fn try_read(stream: &mut impl Read, asked: Method) -> Option<Self> {
        let head = read_head(stream)?;
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let mut answer = Self {
            status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
            head,
            body: Vec::new(),
        };
        let bodiless = matches!(answer.status, 100..=199 | 204 | 304) || asked == Method::Head;
        if bodiless {
            return Some(answer);
        }
        if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut answer.body).unwrap();
        } else if answer.header("transfer-encoding").is_some() {
            answer.body = read_chunks(stream);
        } else {
            stream.read_to_end(&mut answer.body).unwrap();
        }
        Some(answer)
    }

    /// The value of a header that is there once or not at all.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice in {}", self.head);
        value
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) if head.is_empty() => return None,
            other => panic!("{other:?} within {:?}", String::from_utf8_lossy(&head)),
        }
    }
    Some(String::from_utf8(head).unwrap())
}

fn read_chunks(stream: &mut impl Read) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let size = read_line(stream);
        let size = usize::from_str_radix(&size, 16).unwrap();
        let place = body.len();
        body.resize(place + size, 0);
        stream.read_exact(&mut body[place..]).unwrap();
        assert_eq!(read_line(stream), "", "behind a chunk");
        if size == 0 {
            return body;
        }
    }
}

fn read_line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).unwrap()
}
