//! Who a client is: its uid, where that came from, its tags, and how the API changes them.

/// Longest uid, in bytes.
pub const UID_MAX: usize = 128;

/// Longest tag, in bytes.
pub const TAG_MAX: usize = 64;

/// Most tags of one stream.
pub const TAGS_MAX: usize = 32;

/// Whether `text` can be a uid or a tag of at most `max` bytes: something, and printable.
pub fn is_word(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control)
}

/// Who the client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The app's name for who this is.
    pub uid: Option<Box<str>>,
    /// Where the uid came from.
    pub uid_source: Option<UidSource>,
    /// Words to select streams by.
    pub tags: Vec<Box<str>>,
}

/// Which rule yielded the uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UidSource {
    /// The app's 101 answer.
    ResponseHeader,
    /// A query parameter of the request.
    Query,
    /// A header of the request.
    Header,
    /// A cookie of the request.
    Cookie,
    /// The client's first message.
    FirstMessage,
    /// A call of the API.
    Api,
}

impl UidSource {
    /// The word used in the API and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResponseHeader => "response_header",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::FirstMessage => "first_message",
            Self::Api => "api",
        }
    }
}

/// What a call of the API changes about who a client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebind {
    /// `Some(None)` unbinds.
    pub uid: Option<Option<Box<str>>>,
    /// Replaces all tags.
    pub tags: Option<Vec<Box<str>>>,
    /// Added to those that are there.
    pub add_tags: Vec<Box<str>>,
    /// Taken away last.
    pub remove_tags: Vec<Box<str>>,
}

/// The tags would be more than a stream may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream may have at most {TAGS_MAX} tags")]
pub struct TooManyTags;

impl Identity {
    /// The identity after `change`.
    pub(super) fn rebound(&self, change: &Rebind) -> Result<Self, TooManyTags> {
        let mut new = self.clone();
        if let Some(uid) = &change.uid {
            new.uid.clone_from(uid);
            new.uid_source = uid.as_ref().map(|_| UidSource::Api);
        }
        if let Some(tags) = &change.tags {
            new.tags.clear();
            new.add(tags);
        }
        new.add(&change.add_tags);
        new.tags.retain(|tag| !change.remove_tags.contains(tag));
        if new.tags.len() > TAGS_MAX {
            return Err(TooManyTags);
        }
        Ok(new)
    }

    fn add(&mut self, tags: &[Box<str>]) {
        for tag in tags {
            if !self.tags.contains(tag) {
                self.tags.push(tag.clone());
            }
        }
    }
}
