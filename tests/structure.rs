//! The structure of the source: which crate knows which, and that no two files import each other.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Each product crate, and which of ours it knows. Everything else is a harness crate, which no product crate may need
/// but in a test that nothing of the harness depends on.
const KNOWS: [(&str, &[&str]); 7] = [
    ("quality-stats", &[]),
    ("quality-core", &["quality-stats"]),
    ("quality-api", &["quality-core"]),
    ("quality-sources", &["quality-api", "quality-core", "quality-stats"]),
    (
        "quality-render",
        &["quality-api", "quality-core", "quality-sources", "quality-stats"],
    ),
    (
        "kubectl-quality",
        &["quality-api", "quality-core", "quality-render", "quality-sources"],
    ),
    (
        "quality-officer",
        &[
            "quality-api",
            "quality-core",
            "quality-render",
            "quality-sources",
            "quality-stats",
        ],
    ),
];
/// Words of a private language, which the field's terms replaced (docs/GLOSSARY.md).
const BANNED: [&str; 13] = [
    "befall",
    "befell",
    "gone back to",
    "left to the weather",
    "may be gone back",
    "onBlind",
    "on_blind",
    "wayBack",
    "way back",
    "way_back",
    "whoever",
    "MOST_",
    "LONGEST_",
];
/// What statistics and core must not need: clients, servers, runtimes.
const IMPURE: [&str; 8] = [
    "axum",
    "futures",
    "hyper",
    "k8s-openapi",
    "kube",
    "reqwest",
    "tokio",
    "tracing",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    let output = command
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Names of what a package needs, by kind: `None` for its code, `dev` for its tests.
fn needs<'a>(package: &'a Value, kind: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(move |need| need["kind"].as_str() == kind)
        .map(|need| need["name"].as_str().unwrap())
}

#[test]
fn each_crate_knows_only_those_of_its_row() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    for (name, knows) in KNOWS {
        let package = packages.iter().find(|package| package["name"] == name).unwrap();
        let known: BTreeSet<&str> = needs(package, None).filter(|need| ours.contains(need)).collect();
        assert_eq!(known, knows.iter().copied().collect(), "{name}");
    }
}

#[test]
fn statistics_and_core_need_no_client_and_no_runtime() {
    let packages = packages();
    for name in ["quality-stats", "quality-core"] {
        let package = packages.iter().find(|package| package["name"] == name).unwrap();
        for kind in [None, Some("dev"), Some("build")] {
            let impure: Vec<&str> = needs(package, kind).filter(|need| IMPURE.contains(need)).collect();
            assert!(impure.is_empty(), "{name} needs {impure:?}");
        }
    }
}

#[test]
fn no_product_crate_is_tested_with_a_harness_that_needs_it() {
    let packages = packages();
    let of = |name: &str| packages.iter().find(|package| package["name"] == name);
    for (name, _) in KNOWS {
        let mut waiting: Vec<&str> = needs(of(name).unwrap(), Some("dev")).collect();
        let mut reached = BTreeSet::new();
        while let Some(next) = waiting.pop() {
            assert_ne!(next, name, "a harness that {name} is tested with needs it");
            if let Some(package) = of(next).filter(|_| reached.insert(next)) {
                waiting.extend(needs(package, None));
            }
        }
    }
}

/// The folders of source of the product's crates.
fn sources() -> Vec<PathBuf> {
    let crates = ["stats", "core", "api", "sources", "render", "kubectl-quality"];
    let mut folders: Vec<PathBuf> = crates.map(|name| root().join("crates").join(name).join("src")).to_vec();
    folders.push(root().join("src"));
    folders
}

/// The files of these kinds below a folder, but recorded data.
fn files(folder: &Path, kinds: &[&str], into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if path.is_dir() && !path.ends_with("data") {
            files(&path, kinds, into);
        } else if kinds.contains(&kind) {
            into.push(path);
        }
    }
}

/// The modules of a package by their paths, with their source.
fn modules(source: &Path) -> BTreeMap<Vec<String>, String> {
    let mut paths = Vec::new();
    files(source, &["rs"], &mut paths);
    let module = |path: &Path| {
        let path = path.strip_prefix(source).unwrap().with_extension("");
        let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
        parts
            .filter(|part| !matches!(part.as_str(), "lib" | "main"))
            .collect::<Vec<_>>()
    };
    let mut found: BTreeMap<_, _> = paths
        .iter()
        .map(|path| (module(path), fs::read_to_string(path).unwrap()))
        .collect();
    found.retain(|module, _| !module.iter().any(|part| part.contains("tests")));
    found
}

/// The paths of a `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tree: &str, before: &[String], into: &mut Vec<Vec<String>>) {
    let (head, body) = tree
        .split_once('{')
        .map_or((tree, None), |(head, body)| (head, Some(body)));
    let mut path = before.to_vec();
    let parts = head
        .split("::")
        .map(|part| part.split(" as ").next().unwrap_or(part).trim());
    path.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
    let Some(body) = body else {
        into.push(path);
        return;
    };
    let (mut depth, mut from) = (0_u32, 0);
    let body = &body[..body.rfind('}').unwrap_or(body.len())];
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                paths(&body[from..at], &path, into);
                from = at + 1;
            }
            _ => {}
        }
    }
    if !body[from..].trim().is_empty() {
        paths(&body[from..], &path, into);
    }
}

/// What a module imports of its own package, by the modules' paths.
fn imports(module: &[String], source: &str, known: &BTreeMap<Vec<String>, String>) -> BTreeSet<Vec<String>> {
    let code = source.split("#[cfg(test)]").next().unwrap_or(source);
    let mut found = Vec::new();
    for (index, _) in code.match_indices("use ") {
        let begins = code[..index].lines().last().unwrap_or_default().trim_start();
        if matches!(begins, "" | "pub " | "pub(crate) " | "pub(super) ") {
            let tree = code[index + 4..].split(';').next().unwrap_or_default();
            paths(&tree.replace('\n', " "), &[], &mut found);
        }
    }
    for (index, _) in code.match_indices("crate::") {
        let mut path = code[index..].split(|c: char| !c.is_alphanumeric() && !matches!(c, ':' | '_'));
        paths(path.next().unwrap_or_default(), &[], &mut found);
    }
    let mut to = BTreeSet::new();
    for path in found {
        let mut rest = path.as_slice();
        let mut base = match rest.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self") => module.to_vec(),
            Some("super") => module[..module.len().saturating_sub(1)].to_vec(),
            _ => continue,
        };
        rest = &rest[1..];
        while rest.first().is_some_and(|part| part == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        while !base.is_empty() && !known.contains_key(&base) {
            base.pop();
        }
        if !base.is_empty() {
            to.insert(base);
        }
    }
    to
}

/// Every module that a module reaches, other than through its own parents and children.
fn reached(from: &[String], edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> BTreeSet<Vec<String>> {
    let mut waiting: Vec<&Vec<String>> = edges[from].iter().collect();
    let mut found = BTreeSet::new();
    while let Some(next) = waiting.pop() {
        if found.insert(next.clone()) {
            waiting.extend(&edges[next]);
        }
    }
    found
}

/// The modules that reach themselves, and how many imports there are in all.
fn circles(modules: &BTreeMap<Vec<String>, String>) -> (Vec<String>, usize) {
    let related = |a: &[String], b: &[String]| a.starts_with(b) || b.starts_with(a);
    let edges: BTreeMap<_, BTreeSet<_>> = modules
        .iter()
        .map(|(module, text)| {
            let mut to = imports(module, text, modules);
            to.retain(|other| !related(module, other));
            (module.clone(), to)
        })
        .collect();
    let circles = edges.keys().filter(|module| reached(module, &edges).contains(*module));
    (
        circles.map(|module| module.join("::")).collect(),
        edges.values().map(BTreeSet::len).sum(),
    )
}

#[test]
fn no_two_files_reach_each_other_but_parent_and_child() {
    let mut all = 0;
    for source in sources() {
        let (circles, imports) = circles(&modules(&source));
        assert!(
            circles.is_empty(),
            "{}: these reach themselves: {circles:#?}",
            source.display()
        );
        all += imports;
    }
    assert!(all > 300, "only {all} imports were found");
}

#[test]
fn a_circle_is_found_through_nested_imports_paths_in_code_and_a_third_file() {
    let of = |files: &[(&str, &str)]| {
        let module = |name: &str| name.split("::").map(str::to_owned).collect::<Vec<_>>();
        let modules = files.iter().map(|(name, text)| (module(name), (*text).to_owned()));
        circles(&modules.collect()).0
    };
    let ends = ("c", "use crate::a::Thing;\n");
    assert_eq!(
        of(&[
            ("a", "use crate::{\n    b::{self, X},\n};\n"),
            ("b", "fn f() { crate::c::g() }\n"),
            ends
        ]),
        ["a", "b", "c"]
    );
    assert_eq!(
        of(&[("a", "use crate::b::X;\n"), ("b", ""), ends]),
        Vec::<String>::new()
    );
    // A parent and its child may know each other, siblings may not.
    assert_eq!(
        of(&[
            ("a", "use crate::a::b::X;\n"),
            ("a::b", "use super::Y;\nuse crate::a;\n")
        ]),
        Vec::<String>::new()
    );
    assert_eq!(
        of(&[("a::b", "use super::c::Y;\n"), ("a::c", "pub use super::b::Z;\n")]),
        ["a::b", "a::c"]
    );
}

#[test]
fn no_public_type_of_a_crate_has_the_name_of_another() {
    let mut all = 0;
    for source in sources() {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (module, text) in modules(&source) {
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for line in code.lines() {
                let mut words = line.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_');
                if words.next() == Some("pub") && matches!(words.next(), Some("struct" | "enum" | "trait" | "type")) {
                    let name = words.next().unwrap_or_default().to_owned();
                    places.entry(name).or_default().push(module.join("::"));
                }
            }
        }
        all += places.len();
        places.retain(|_, places| places.len() > 1);
        assert!(places.is_empty(), "{}: {places:#?}", source.display());
    }
    assert!(all > 300, "only {all} types were found");
}

#[test]
fn no_text_or_name_is_of_a_private_language() {
    let mut read = vec![
        root().join("README.md"),
        root().join("CONTRIBUTING.md"),
        root().join("CHANGELOG.md"),
    ];
    for folder in ["charts", "crates", "crds", "deploy", "docs", "examples", "src", "tests"] {
        files(&root().join(folder), &["rs", "md", "yaml"], &mut read);
    }
    read.retain(|path| !path.ends_with("structure.rs"));
    assert!(read.len() > 400, "only {} files were read", read.len());
    let mut found = Vec::new();
    for path in read {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            let is_in = |word: &&&str| {
                if word.ends_with('_') {
                    line.contains(**word)
                } else {
                    lower.contains(&word.to_lowercase())
                }
            };
            found.extend(
                BANNED
                    .iter()
                    .find(is_in)
                    .map(|word| format!("{}:{}: {word}", path.display(), number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
