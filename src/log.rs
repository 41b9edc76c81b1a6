use crate::registry::record::ClosedRecord;
pub fn stream_closed(_r: &ClosedRecord) {}
