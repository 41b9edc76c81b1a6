//! The text format, read strictly.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::Metrics;

/// Families with type, label names and, for counters and gauges, each sample.
pub(super) struct Scrape {
    pub(super) types: BTreeMap<String, String>,
    pub(super) samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// A strict reading of the text format: HELP, then TYPE, then samples of that family only.
    fn parse(text: &str) -> Self {
        let mut types = BTreeMap::new();
        let mut samples = BTreeMap::new();
        let mut helped = String::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.ends_with('.') && help.len() > 10, "help of {name}");
                helped = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, helped, "TYPE follows HELP");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none());
                family = name.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix))
                    .filter(|_| types[&family] == "histogram")
                    .unwrap_or(name);
                assert_eq!(base, family, "a sample stands under its family: {line}");
                let known = samples.insert(series.to_owned(), value.parse::<f64>().unwrap());
                assert!(known.is_none(), "{series} twice");
            }
        }
        Self { types, samples }
    }

    pub(super) fn of(metrics: &Metrics) -> Self {
        Self::parse(&metrics.text().unwrap())
    }

    /// The values that `label` takes in `family` together with listener `chat`.
    pub(super) fn words(&self, family: &str, label: &str) -> BTreeSet<&str> {
        let suffix = match self.types[family].as_str() {
            "histogram" => "_count",
            _ => "",
        };
        let head = format!("{family}{suffix}{{");
        self.samples
            .keys()
            .filter_map(|series| series.strip_prefix(&head))
            .filter(|labels| labels.contains("listener=\"chat\""))
            .map(|labels| {
                let value = labels.split_once(&format!("{label}=\"")).unwrap().1;
                value.split('"').next().unwrap()
            })
            .collect()
    }
}
