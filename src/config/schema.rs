//! The JSON Schema of the configuration file, for editors and checks of charts.

use super::raw::RawConfig;

/// The schema (draft 2020-12); anything it accepts is well-formed, what fits together is told by `check`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(RawConfig).to_value()
}
