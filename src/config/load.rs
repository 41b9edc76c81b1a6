//! From a file, the environment and flags to a configuration, as often as it is asked for.

use std::path::PathBuf;

use serde_saphyr::NonFiniteFloatPolicy;

use super::convert;
use super::error::{ConfigError, Page};
use super::flags::Flags;
use super::interpolate::Environment;
use super::raw::RawConfig;
use super::reader::Reader;
use super::ready::Config;

/// Where the configuration comes from; it can be loaded again for a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigSource {
    /// `-c FILE`.
    pub file: Option<PathBuf>,
    /// What overrides the file.
    pub flags: Flags,
    /// What `${NAME}` in the file is replaced by.
    pub environment: Environment,
}

impl ConfigSource {
    /// A source with the environment of this process; variables that are not UTF-8 count as unset.
    pub fn new(file: Option<PathBuf>, flags: Flags) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            file,
            flags,
            environment,
        }
    }

    /// Reads the file and validates everything; all files that it names can be read now.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let Some(path) = &self.file else {
            if !self.flags.has_listener() {
                return Err(ConfigError::Nothing);
            }
            let page = Page {
                name: "command line",
                text: "",
            };
            return self.ready(RawConfig::default(), page);
        };
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let name = path.display().to_string();
        let page = Page {
            name: &name,
            text: &text,
        };
        self.ready(parse(&page)?, page)
    }

    /// Every file whose content makes up `config`, this configuration's file first.
    pub fn files(&self, config: &Config) -> Vec<PathBuf> {
        self.file.iter().cloned().chain(config.files()).collect()
    }

    fn ready(&self, mut raw: RawConfig, page: Page<'_>) -> Result<Config, ConfigError> {
        self.flags.apply(&mut raw, &page)?;
        let reader = Reader {
            page,
            environment: &self.environment,
        };
        convert::config(&reader, &raw)
    }
}

fn parse(page: &Page<'_>) -> Result<RawConfig, ConfigError> {
    let options = serde_saphyr::options! {
        // `off` stays a word.
        strict_booleans: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        // `Page` draws the excerpts.
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(page.text, options).map_err(|error| page.at_parser(&error))
}

/// The configuration that `text` makes without flags.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read(text: &str, environment: &Environment) -> Result<Config, ConfigError> {
    let source = ConfigSource {
        environment: environment.clone(),
        ..ConfigSource::default()
    };
    let page = Page { name: "text", text };
    source.ready(parse(&page)?, page)
}
