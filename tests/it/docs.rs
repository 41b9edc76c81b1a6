//! The pages of the documentation say what the program does: tables are those of the code, examples can be used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Section of the file to the rows of its table.
type Tables = BTreeMap<String, Vec<String>>;

/// The tables of the keys, as the schema of the configuration has them.
struct Schema {
    root: Value,
    tables: Tables,
}

impl Schema {
    fn tables(root: Value) -> Tables {
        let mut schema = Self {
            root,
            tables: Tables::new(),
        };
        let root = schema.root.clone();
        schema.table("the file", "", &root);
        schema.tables
    }

    /// Adds the table of an object, and those of the objects in it.
    fn table(&mut self, section: &str, path: &str, node: &Value) {
        let required = node["required"].as_array().cloned().unwrap_or_default();
        let properties = node["properties"].as_object().cloned();
        for (key, rule) in properties.unwrap_or_default() {
            let default = match rule.get("default") {
                Some(Value::String(text)) => format!("`{text}`"),
                Some(value) => format!("`{value}`"),
                None if required.contains(&Value::from(&*key)) => "required".to_owned(),
                None => String::new(),
            };
            let meaning = rule["description"].as_str().unwrap_or_default();
            let kinds = self.kinds(&rule).join(" or ");
            let row = format!("| `{key}` | {kinds} | {default} | {meaning} |");
            let cells = row.matches('|').count();
            assert_eq!(cells, 5, "{row}");
            let rows = self.tables.entry(section.to_owned()).or_default();
            rows.push(row);
            let path = if path.is_empty() {
                key
            } else {
                format!("{path}.{key}")
            };
            self.inside(&path, &rule);
        }
        // One of several keys: each alternative is an object of its own.
        for alternative in node["oneOf"].as_array().cloned().unwrap_or_default() {
            let key = alternative["properties"].as_object().unwrap();
            let (key, rule) = key.iter().next().unwrap();
            let mut rule = rule.clone();
            rule["description"] = alternative["description"].clone();
            let properties = Map::from_iter([(key.clone(), rule)]);
            let alone = Value::from_iter([("properties", Value::from(properties))]);
            self.table(section, path, &alone);
        }
    }

    /// Adds the tables of the objects that `node` may be or hold.
    fn inside(&mut self, path: &str, node: &Value) {
        if let Some(definition) = self.definition(node) {
            self.table(path, path, &definition);
        }
        if let Some(each) = node.get("additionalProperties").cloned() {
            self.inside(&format!("{path}.NAME"), &each);
        }
        if let Some(items) = node.get("items").cloned() {
            self.inside(path, &items);
        }
        for alternative in node["anyOf"].as_array().cloned().unwrap_or_default() {
            self.inside(path, &alternative);
        }
    }

    fn definition(&self, node: &Value) -> Option<Value> {
        let pointer = node["$ref"].as_str()?.trim_start_matches('#');
        self.root.pointer(pointer).cloned()
    }

    /// What may be written, in the words of the page; that `${NAME}` may stand anywhere is said once there.
    fn kinds(&self, node: &Value) -> Vec<String> {
        let alternatives = node["anyOf"].as_array().into_iter().flatten();
        let kinds: Vec<_> = alternatives.flat_map(|node| self.kinds(node)).collect();
        if !kinds.is_empty() {
            return kinds;
        }
        let word = |value: &Value| match value {
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let kind = match node {
            node if node.get("$ref").is_some() => "keys, below".to_owned(),
            node if node.get("additionalProperties").is_some() => {
                "names, each with keys, below".to_owned()
            }
            node if node.get("items").is_some() => {
                format!("list of: {}", self.kinds(&node["items"]).join(" or "))
            }
            node if node.get("enum").is_some() => {
                // `false` stands for `off`, a number for the same as text; both are said once.
                let values = node["enum"].as_array().unwrap().iter();
                let words = values.filter(|value| value.is_string() || value.is_u64());
                words.map(word).collect::<Vec<_>>().join(", ")
            }
            node if node.get("const").is_some() => word(&node["const"]),
            node if node["pattern"] == r"\$\{" => return Vec::new(),
            node => match (node["pattern"].as_str(), node["type"].as_str()) {
                (Some(pattern), _) if pattern.contains("ms)") => "duration".to_owned(),
                (Some(pattern), _) if pattern.contains("KiB") => "size".to_owned(),
                (Some(pattern), _) if pattern.ends_with("%$") => "percentage".to_owned(),
                (None, Some("string")) => "text".to_owned(),
                (None, Some("boolean")) => "`true` or `false`".to_owned(),
                (None, _) => range(node),
                (Some(pattern), _) => panic!("pattern {pattern}"),
            },
        };
        vec![kind]
    }
}

fn range(node: &Value) -> String {
    let (least, most) = (
        node["minimum"].as_u64().unwrap(),
        node["maximum"].as_u64().unwrap(),
    );
    if most == u64::from(u32::MAX) {
        format!("{least} or more")
    } else {
        format!("{least} to {most}")
    }
}

/// The rows of the table under each `### ` heading; a code span in the heading is the name.
fn written(page: &str) -> Tables {
    let mut tables = Tables::new();
    let mut section = None;
    for line in page.lines() {
        if line.starts_with('#') {
            let name = line
                .strip_prefix("### ")
                .map(|name| name.trim_matches('`').to_owned());
            section = name;
        } else if let Some(section) = &section
            && line.starts_with("| `")
        {
            tables
                .entry(section.clone())
                .or_default()
                .push(line.to_owned());
        }
    }
    tables
}

#[test]
fn every_key_is_documented_as_the_schema_has_it() {
    let code = Schema::tables(sidebeat::config::schema());
    let mut page = written(&page("docs/configuration.md"));
    assert_eq!(code.values().map(Vec::len).sum::<usize>(), 87);
    for (section, rows) in &code {
        let mut sorted = page.remove(section).unwrap_or_default();
        sorted.sort();
        let mut wanted = rows.clone();
        wanted.sort();
        assert_eq!(
            sorted,
            wanted,
            "docs/configuration.md, section `{section}`, should have\n{}",
            rows.join("\n")
        );
    }
    assert!(page.is_empty(), "no such keys: {page:?}");
}

#[test]
fn every_flag_is_documented_with_its_variable() {
    let help = Command::new(env!("CARGO_BIN_EXE_sidebeat"))
        .args(["run", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags = help.lines().filter_map(|line| {
        let flag = line.trim().trim_start_matches("-c, ").strip_prefix("--")?;
        let name = flag.split([' ', '=']).next().unwrap();
        (name != "help" && name != "version").then(|| name.to_owned())
    });
    let wanted: Vec<_> = flags
        .map(|flag| {
            format!(
                "| `--{flag}` | `SIDEBEAT_{}` |",
                flag.replace('-', "_").to_uppercase()
            )
        })
        .collect();
    assert_eq!(wanted.len(), 13);
    let page = page("docs/configuration.md");
    for start in &wanted {
        let rows = page.lines().filter(|line| line.starts_with(start.as_str()));
        assert_eq!(rows.count(), 1, "{start}");
    }
    let all = page.lines().filter(|line| line.starts_with("| `--"));
    assert_eq!(all.count(), wanted.len());
}

/// The files that the examples name, made in `directory`.
fn files(directory: &Path) {
    let names = ["localhost".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).unwrap();
    for (name, text) in [
        ("tls.crt", certificate.cert.pem()),
        ("tls.key", certificate.signing_key.serialize_pem()),
        (
            "hook.secret",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".to_owned(),
        ),
        (
            "admin.token",
            "a-token-of-some-length-0123456789\n".to_owned(),
        ),
    ] {
        std::fs::write(directory.join(name), text).unwrap();
    }
}

#[test]
fn every_example_is_a_good_configuration() {
    let home = tempfile::tempdir().unwrap();
    files(home.path());
    let mut seen = Vec::new();
    for name in ["README.md", "docs/configuration.md", "docs/heartbeats.md"] {
        let page = page(name);
        for block in page.split("```yaml\n").skip(1) {
            let example = block.split_once("```").unwrap().0;
            let here = format!("{}/", home.path().display());
            let text = example
                .replace("/tls/", &here)
                .replace("/etc/sidebeat/", &here);
            let file: PathBuf = home.path().join("sidebeat.yaml");
            std::fs::write(&file, text).unwrap();
            let mut check = Command::new(env!("CARGO_BIN_EXE_sidebeat"));
            let checked = check.args(["check", "-c"]).arg(&file).output().unwrap();
            let told = String::from_utf8_lossy(&checked.stderr).into_owned();
            assert_eq!(checked.status.code(), Some(0), "{name}: {told}\n{example}");
            seen.push(name);
        }
    }
    assert_eq!(seen.iter().filter(|name| **name == "README.md").count(), 1);
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/api.md",
        "docs/configuration.md",
        "docs/heartbeats.md",
        "docs/hooks.md",
        "docs/profiles.md",
        "examples/push/README.md",
    ] {
        let page = page(name);
        for link in page.split("](").skip(1) {
            let target = link.split_once(')').unwrap().0;
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let directory = root.join(name);
            let path = directory.parent().unwrap().join(file);
            let path = if file.is_empty() {
                root.join(name)
            } else {
                path
            };
            assert!(path.exists(), "{name}: {target}");
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let headings = text.lines().filter(|line| line.starts_with('#')).map(slug);
            assert!(
                anchor.is_empty() || headings.into_iter().any(|slug| slug == anchor),
                "{name}: {target}"
            );
            seen += 1;
        }
    }
    assert!(seen >= 12, "{seen}");
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The names under a heading of Cargo.toml.
fn crates(section: &str) -> Vec<String> {
    let manifest = page("Cargo.toml");
    let (_, rest) = manifest.split_once(&format!("\n[{section}]\n")).unwrap();
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_dependency_has_its_reason() {
    let architecture = page("ARCHITECTURE.md");
    let (_, rest) = architecture.split_once("## Dependencies").unwrap();
    let (table, rest) = rest
        .split_once("\nFor tests, benches and fuzz targets only: ")
        .unwrap();
    let for_tests = rest.split_once("\n\n").unwrap().0;
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let named: Vec<&str> = rows.flat_map(|(names, _)| names.split(", ")).collect();

    let normal = crates("dependencies");
    let for_tests_only = crates("dev-dependencies")
        .into_iter()
        .filter(|name| *name != "tokio");
    for name in &normal {
        assert!(
            named.contains(&&**name) || for_tests.contains(name),
            "{name} has no reason in ARCHITECTURE.md"
        );
    }
    for name in for_tests_only {
        assert!(
            for_tests.contains(&name),
            "{name} has no reason in ARCHITECTURE.md"
        );
    }
    for name in named.iter().filter(|name| **name != "crate") {
        assert!(
            normal.iter().any(|known| known == name),
            "{name} is no dependency"
        );
    }
}
