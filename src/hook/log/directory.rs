//! The `state_dir`: made, locked, and the files in it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::LogError;

/// The format of the records behind the head. To be raised by every change that an older program would misread.
pub(super) const VERSION: u32 = 1;

/// The first bytes of every version's log; the version in digits and a line feed follow.
const TITLE: &str = "sidebeat hook log ";

/// `rwx------`: events name users.
const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// Everybody may write, nobody may remove what is another's, as in `/tmp`.
const STICKY: u32 = 0o1000;

/// A `state_dir` that belongs to this process until it ends.
pub(super) struct Directory {
    path: PathBuf,
    /// Holds the lock. A file of its own: the log is replaced when it is rewritten.
    _lock: File,
}

impl Directory {
    /// Makes the directory and takes it.
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let failed = |what| move |source| system(path, what, source);
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIRECTORY)
            .create(path)
            .map_err(failed("make the directory"))?;
        make_private(path).map_err(failed("look at the directory"))?;
        let lock = options().open(path.join("lock"));
        let lock = lock.map_err(failed("write the file `lock` in it"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(LogError::Locked {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(system(path, "lock it", source)),
        }
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("hooks.log")
    }

    /// What the log is rewritten to before it takes its name.
    pub(super) fn next_log(&self) -> PathBuf {
        self.path.join("hooks.log.new")
    }

    pub(super) fn dead_letters(&self) -> PathBuf {
        self.path.join("dead-letters.jsonl")
    }

    pub(super) fn older_dead_letters(&self) -> PathBuf {
        self.path.join("dead-letters.1.jsonl")
    }

    /// Puts names on disk.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    pub(super) fn error(&self, what: &'static str, source: std::io::Error) -> LogError {
        system(&self.path, what, source)
    }

    /// Opens the log and reads its head; a file that is not there, or ends within its head, is empty.
    pub(super) fn open_log(&self) -> Result<(File, Head), LogError> {
        let mut file = options()
            .open(self.log())
            .map_err(|source| self.error("open the file `hooks.log` in it", source))?;
        let mut head = Vec::new();
        file.by_ref()
            .take(32)
            .read_to_end(&mut head)
            .map_err(|source| self.error("read the file `hooks.log` in it", source))?;
        let known = self::head();
        if head.starts_with(known.as_bytes()) {
            return Ok((file, Head::Known));
        }
        if known.as_bytes().starts_with(&head) {
            return Ok((file, Head::Missing));
        }
        let path = self.log();
        let Some(rest) = head.strip_prefix(TITLE.as_bytes()) else {
            return Err(LogError::NotALog { path });
        };
        let version = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
        Err(LogError::Version {
            path,
            version: version.escape_ascii().to_string(),
            known: VERSION,
        })
    }
}

/// What a log begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Records of our version follow.
    Known,
    /// The process that made the file had not written anything yet.
    Missing,
}

/// The first bytes of a log.
pub(super) fn head() -> String {
    format!("{TITLE}{VERSION}\n")
}

/// How every file here is opened; made if it is not there, never cut.
pub(super) fn options() -> OpenOptions {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE);
    options
}

fn system(path: &Path, what: &'static str, source: std::io::Error) -> LogError {
    LogError::System {
        path: path.to_owned(),
        what,
        source,
    }
}

/// Closes a directory that was there before to others. One that is shared (`/tmp`) or another's (a volume of
/// Kubernetes with `fsGroup`) stays as it is: the files in it are private by themselves.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mode = path.metadata()?.mode();
    if mode & 0o077 != 0 && mode & STICKY == 0 {
        // Refused for one that is another's; whether files can be made in it is seen next.
        let _ = std::fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIRECTORY));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn a_directory_is_private_and_made_with_its_parents() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        let directory = Directory::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        drop(directory);
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let directory = Directory::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("lock")), 0o600);
        drop(directory);
        // Shared, and private with something of its own.
        for left_alone in [0o1777, 0o2700] {
            std::fs::set_permissions(&path, Permissions::from_mode(left_alone)).unwrap();
            Directory::open(&path).unwrap();
            assert_eq!(mode(&path), left_alone);
        }
        // Nobody may change the mode of this one.
        make_private(Path::new("/proc/self")).unwrap();
    }

    #[test]
    fn a_second_taker_is_refused_until_the_first_ends() {
        let base = tempfile::tempdir().unwrap();
        let first = Directory::open(base.path()).unwrap();
        let second = Directory::open(base.path()).err().unwrap();
        assert!(matches!(second, LogError::Locked { .. }), "{second}");
        assert!(second.is_system());
        drop(first);
        Directory::open(base.path()).unwrap();
    }

    #[test]
    fn what_is_no_log_of_this_version_is_refused_and_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::open(base.path()).unwrap();
        for (content, words) in [
            ("sidebeat hook log 2\nnew", "version 2,"),
            ("sidebeat hook log 11\n", "version 11,"),
            ("sidebeat hook log \x01", "version \\x01,"),
            ("something of mine", "is no hook log"),
            ("sidebeat hook lox 1\n", "is no hook log"),
        ] {
            std::fs::write(directory.log(), content).unwrap();
            let error = directory.open_log().err().unwrap();
            assert!(error.to_string().contains(words), "{content:?}: {error}");
            assert!(!error.is_system());
            assert_eq!(std::fs::read_to_string(directory.log()).unwrap(), content);
        }
        assert_eq!(head(), "sidebeat hook log 1\n");
        for length in 0..=head().len() {
            std::fs::write(directory.log(), &head()[..length]).unwrap();
            let (_, found) = directory.open_log().unwrap();
            let whole = length == head().len();
            assert_eq!(found, if whole { Head::Known } else { Head::Missing });
        }
    }

    #[test]
    fn what_the_system_refuses_is_said() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Directory::open(&file.join("below")).err().unwrap();
        assert!(
            error.to_string().contains("cannot make the directory"),
            "{error}"
        );
    }
}
