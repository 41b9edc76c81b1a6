//! The body of the fuzz target `configuration`.

use super::interpolate::Environment;
use super::load::read;

/// What cases name by `${DIR}`: a folder with a file for each thing that a configuration can name.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/config/files");

/// A file's text: nothing panics, a mistake is told in lines of printable text with the place drawn, and what is shown of
/// a good configuration is a configuration that shows the same.
///
/// # Panics
/// If one of them does not hold.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let environment = environment(FILES);
    match read(text, &environment) {
        Err(error) => {
            let told = error.to_string();
            let plain = |c: char| c == '\n' || !c.is_control();
            assert!(told.chars().all(plain), "{told:?} reaches a terminal");
            assert!(told.lines().count() <= 4, "{told}");
        }
        Ok(config) => {
            let shown = config.redacted();
            let again = read(&shown.to_string().replace('$', "$$"), &environment);
            match again {
                Ok(again) => assert_eq!(again.redacted(), shown),
                Err(error) => panic!("what is shown is no configuration: {error}\n{shown:#}"),
            }
        }
    }
}

/// What cases name by `${…}`.
pub(super) fn environment(directory: &str) -> Environment {
    [
        ("DIR", directory),
        ("PORT", "9000"),
        ("NUMBER", "55"),
        ("WORD", "off"),
        ("EMPTY", ""),
        ("TRICK", "a: b # not a comment"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
