//! The status page and the description of the API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderValue, Response};
use sha2::{Digest, Sha256};

use super::Body;
use super::answer::content;

/// OpenAPI 3.1, written by hand.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// One page without anything from elsewhere.
const PAGE: &str = include_str!("status.html");

/// The status page, ready to be served.
pub(super) struct StatusPage {
    policy: HeaderValue,
}

impl StatusPage {
    /// Works out what the page may do: its own script and style, known by their hashes, and calls to this API.
    pub(super) fn new() -> Self {
        let policy = format!(
            "default-src 'self'; script-src 'self' '{}'; style-src 'self' '{}'; img-src 'self' data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
            hash(inner(PAGE, "script")),
            hash(inner(PAGE, "style")),
        );
        // Base64 and the words above are ASCII.
        let strict = HeaderValue::from_static("default-src 'self'");
        let policy = HeaderValue::try_from(policy).unwrap_or(strict);
        Self { policy }
    }

    pub(super) fn answer(&self) -> Response<Body> {
        let mut response = content("text/html; charset=utf-8", PAGE);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// What is between the first pair of these tags.
fn inner<'p>(page: &'p str, tag: &str) -> &'p str {
    let behind = page
        .split_once(&format!("<{tag}>"))
        .map_or("", |(_, behind)| behind);
    behind
        .split_once(&format!("</{tag}>"))
        .map_or("", |(inner, _)| inner)
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::admin::routes::ROUTES;

    fn document() -> Value {
        serde_json::from_str(OPENAPI).unwrap()
    }

    /// `METHOD path?parameters {body}` of everything that the document describes.
    fn described() -> BTreeSet<String> {
        let document = document();
        let mut calls = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let of_path = &operations["parameters"];
            for (method, operation) in operations.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let own = operation["parameters"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let all = own.iter().chain(of_path.as_array().into_iter().flatten());
                let mut query = BTreeSet::new();
                for parameter in all {
                    let name = parameter["$ref"].as_str().unwrap();
                    let name = name.strip_prefix("#/components/parameters/").unwrap();
                    let parameter = &document["components"]["parameters"][name];
                    assert_eq!(parameter["name"], name);
                    if parameter["in"] == "query" {
                        query.insert(name.to_owned());
                    } else {
                        assert!(path.contains(&format!("{{{name}}}")), "{path}");
                    }
                }
                let body = !operation["requestBody"].is_null();
                calls.insert(format!("{} {path} {query:?} {body}", method.to_uppercase()));
            }
        }
        calls
    }

    #[test]
    fn the_document_describes_every_route_with_its_parameters_and_no_other() {
        let routes: BTreeSet<_> = ROUTES.iter().map(|route| route.describe()).collect();
        assert_eq!(routes.len(), ROUTES.len());
        assert_eq!(described(), routes);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut references = OPENAPI.split("\"$ref\": \"#").skip(1).peekable();
        assert!(references.peek().is_some());
        for reference in references {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn the_page_may_run_its_own_script_and_nothing_else() {
        for tag in ["script", "style"] {
            assert_eq!(
                PAGE.matches(&format!("<{tag}")).count(),
                1,
                "one {tag}, which is hashed"
            );
            assert!(inner(PAGE, tag).len() > 1000, "{tag}");
        }
        let response = StatusPage::new().answer();
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(
            policy.starts_with("default-src 'self'; script-src 'self' 'sha256-"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for elsewhere in [
            "http://",
            "https://",
            "//cdn",
            " onclick=",
            " style=",
            "@import",
            "innerHTML",
        ] {
            assert!(!PAGE.contains(elsewhere), "{elsewhere}");
        }
    }
}
