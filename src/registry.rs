//! The live streams: enter and leave by guard, look up by id, uid, tag.

pub mod record;
