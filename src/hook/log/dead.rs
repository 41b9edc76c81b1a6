//! Dead letters: events that no try will deliver any more, kept for people.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use super::directory::Directory;
use crate::hook::clock::rfc3339;
use crate::hook::message::Message;

/// A file of this size is put aside for a new one, and the one put aside before is lost.
const BOUND: u64 = 16 * 1024 * 1024;

/// The file of the dead letters: one JSON object a line.
pub(super) struct DeadLetters {
    path: PathBuf,
    older: PathBuf,
    bound: u64,
    file: Option<File>,
}

impl DeadLetters {
    pub(super) fn new(directory: &Directory) -> Self {
        Self {
            path: directory.dead_letters(),
            older: directory.older_dead_letters(),
            bound: BOUND,
            file: None,
        }
    }

    /// Keeps an event that `hook` did not get; `result` is the word of the metric.
    pub(super) fn keep(
        &mut self,
        hook: &str,
        result: &str,
        message: &Message,
    ) -> std::io::Result<()> {
        let at = rfc3339(SystemTime::now());
        let hook = serde_json::Value::from(hook);
        let mut line =
            format!(r#"{{"at":"{at}","hook":{hook},"result":"{result}","event":"#).into_bytes();
        line.extend_from_slice(&message.body);
        line.extend_from_slice(b"}\n");
        let kept = self.append(&line);
        if kept.is_err() {
            self.file = None;
        }
        kept
    }

    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let length = file.metadata()?.len();
        if length > 0 && length + line.len() as u64 > self.bound {
            std::fs::rename(&self.path, &self.older)?;
            file = self.open()?;
        }
        if let Err(error) = file.write_all(line) {
            // On a full disk: half a line would spoil the next one.
            let _ = file.set_len(length);
            return Err(error);
        }
        self.file = Some(file);
        Ok(())
    }

    fn open(&self) -> std::io::Result<File> {
        File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use std::time::Duration;

    use super::*;
    use crate::hook::clock::Moment;
    use crate::hook::event::Event;

    #[test]
    fn dead_letters_are_lines_of_json_and_bounded() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::open(base.path()).unwrap();
        let mut letters = DeadLetters::new(&directory);
        letters.bound = 2_000;
        let event = Event::Started {
            former_boot_id: None,
            recovered: 3,
        };
        for sequence in 0..20 {
            let at = Moment {
                wall: SystemTime::UNIX_EPOCH,
                steady: Duration::ZERO,
            };
            let message = Message::new(&event, at, "/s", sequence);
            letters.keep("a \"b\"", "expired", &message).unwrap();
        }
        let lines = |path: &std::path::Path| -> Vec<Value> {
            assert!(path.metadata().unwrap().len() <= 2_000);
            let text = std::fs::read_to_string(path).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        let (newer, older) = (
            lines(&directory.dead_letters()),
            lines(&directory.older_dead_letters()),
        );
        let last = newer.last().unwrap();
        assert_eq!(last["hook"], "a \"b\"");
        assert_eq!(last["result"], "expired");
        assert_eq!(last["event"]["sequence"], "00000000000000000019");
        let first = newer[0]["event"]["sequence"]
            .as_str()
            .unwrap()
            .parse::<usize>()
            .unwrap();
        let before = older.last().unwrap()["event"]["sequence"].as_str().unwrap();
        assert_eq!(before.parse::<usize>().unwrap(), first - 1);
    }

    #[test]
    fn a_file_is_put_aside_when_the_next_letter_would_not_fit() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::open(base.path()).unwrap();
        let (path, older) = (directory.dead_letters(), directory.older_dead_letters());
        let mut letters = DeadLetters::new(&directory);
        letters.bound = 20;
        let mut append = |line: &str| letters.append(line.as_bytes()).unwrap();
        let read = |path: &std::path::Path| std::fs::read_to_string(path).ok();
        // One that is longer than a file has one of its own.
        append("a letter that is longer\n");
        assert_eq!(read(&older), None);
        append("ten bytes\n");
        assert_eq!(read(&older).unwrap(), "a letter that is longer\n");
        append("ten bytes\n");
        assert_eq!(read(&path).unwrap(), "ten bytes\nten bytes\n");
        append("more\n");
        assert_eq!(read(&path).unwrap(), "more\n");
        assert_eq!(read(&older).unwrap(), "ten bytes\nten bytes\n");
    }
}
