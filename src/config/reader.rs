//! From scalars as written to values, with the place of every mistake.

use std::path::PathBuf;

use super::error::{ConfigError, Page, Place};
use super::interpolate::{Environment, interpolate};
use super::kinds::File;
use super::kinds::Kind;
use super::leaf::{Leaf, Maybe};

/// What reading needs: the page for places, the environment for references.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) page: Page<'a>,
    pub(super) environment: &'a Environment,
}

impl Reader<'_> {
    /// The value of a scalar; `key` is how messages call it.
    pub(super) fn get<K: Kind>(&self, leaf: &Leaf<K>, key: &str) -> Result<K::Value, ConfigError> {
        let text = self.text(leaf, key)?;
        K::parse(&text).map_err(|message| self.wrong(leaf, key, &message))
    }

    /// The value of a scalar that may be left out.
    pub(super) fn or<K: Kind>(
        &self,
        leaf: &Maybe<Leaf<K>>,
        key: &str,
        default: K::Value,
    ) -> Result<K::Value, ConfigError> {
        leaf.get().map_or(Ok(default), |leaf| self.get(leaf, key))
    }

    /// The value of a scalar, read by a function that is no kind of its own.
    pub(super) fn parse<K: Kind<Value = String>, T, E: ToString>(
        &self,
        leaf: &Leaf<K>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let text = self.get(leaf, key)?;
        parse(&text).map_err(|error| self.wrong(leaf, key, &error.to_string()))
    }

    /// The path of a file that can be read now.
    pub(super) fn file(&self, leaf: &Leaf<File>, key: &str) -> Result<PathBuf, ConfigError> {
        let path = self.get(leaf, key)?;
        match readable(&path) {
            Ok(()) => Ok(path),
            Err(reason) => Err(self.wrong(
                leaf,
                key,
                &format!(
                    "cannot read {}: {reason}: check the path and its permissions",
                    path.display()
                ),
            )),
        }
    }

    /// The path of a file that may be left out.
    pub(super) fn file_option(
        &self,
        leaf: &Maybe<Leaf<File>>,
        key: &str,
    ) -> Result<Option<PathBuf>, ConfigError> {
        leaf.get().map(|leaf| self.file(leaf, key)).transpose()
    }

    /// A mistake in the value of `key`.
    pub(super) fn wrong<K>(&self, leaf: &Leaf<K>, key: &str, message: &str) -> ConfigError {
        self.page.at_value(leaf.place, format!("{key}: {message}"))
    }

    /// A key that must not be there.
    pub(super) fn misplaced(&self, place: Place, key: &str, message: &str) -> ConfigError {
        self.page.at_key(place, key, format!("{key}: {message}"))
    }

    fn text<K>(&self, leaf: &Leaf<K>, key: &str) -> Result<String, ConfigError> {
        let written = self.page.written(leaf.place).filter(|_| leaf.is_number);
        interpolate(written.unwrap_or(&leaf.text), self.environment)
            .map(|text| text.into_owned())
            .map_err(|error| self.wrong(leaf, key, &error.to_string()))
    }
}

fn readable(path: &std::path::Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("it is a directory".to_owned());
    }
    // Opening a pipe would wait for its writer.
    if metadata.is_file() {
        std::fs::File::open(path).map_err(|error| error.to_string())?;
    }
    Ok(())
}
