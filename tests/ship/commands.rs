//! Every command that a document tells a person to type is run by a test or is a target of the Makefile: commands.yaml says
//! by which, and is checked in both directions.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{documents, tools::project};

/// What commands begin with.
const PROGRAMS: &[&str] = &[
    "cargo ",
    "docker ",
    "helm ",
    "kubectl ",
    "make ",
    "quality-officer ",
    "rustup ",
    "scripts/",
    "target/",
];

fn is_a_command(text: &str) -> bool {
    PROGRAMS.iter().any(|program| text.starts_with(program))
}

/// A fenced block of Markdown: what its fence says it is, and its lines.
struct Block<'a> {
    language: &'a str,
    lines: Vec<&'a str>,
}

/// The fenced blocks of a document, and its lines outside of them.
fn parts(text: &str) -> (Vec<Block<'_>>, Vec<&str>) {
    let (mut blocks, mut prose) = (Vec::new(), Vec::new());
    let mut open: Option<(&str, Block)> = None;
    for line in text.lines() {
        let fence = ["```", "~~~"].into_iter().find(|fence| line.starts_with(fence));
        let language = line.trim_start_matches(['`', '~']);
        open = match (open, fence) {
            (Some((begun, block)), Some(fence)) if begun == fence && language.is_empty() => {
                blocks.push(block);
                None
            }
            (Some((begun, mut block)), _) => {
                block.lines.push(line);
                Some((begun, block))
            }
            (None, Some(fence)) if !language.contains('`') => {
                let lines = Vec::new();
                Some((fence, Block { language, lines }))
            }
            (None, _) => {
                prose.push(line);
                None
            }
        };
    }
    assert!(open.is_none(), "a fence is not closed:\n{text}");
    (blocks, prose)
}

impl Block<'_> {
    /// What a person types of it, whole: with continued lines, quotes over several lines, and what `<<EOF` takes in.
    fn commands(&self) -> Vec<String> {
        match self.language {
            "sh" => self.of_a_shell(),
            "console" => self.typed().map(ToOwned::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    fn typed(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| line.strip_prefix("$ "))
    }

    fn of_a_shell(&self) -> Vec<String> {
        let mut lines = self.lines.iter();
        let mut commands = Vec::new();
        while let Some(line) = lines.next() {
            let mut command = (*line).to_owned();
            while command.ends_with('\\') || command.matches('\'').count() % 2 == 1 {
                command = format!("{command}\n{}", lines.next().expect("a command is not ended"));
            }
            if command.contains("<<EOF") {
                let text: Vec<&str> = lines.by_ref().copied().take_while(|line| *line != "EOF").collect();
                command = format!("{command}\n{}\nEOF", text.join("\n"));
            }
            if !command.trim().is_empty() {
                commands.push(command);
            }
        }
        commands
    }
}

/// The commands of a block of a section, by the section's heading and the block's number among those with commands.
pub fn of(document: &str, heading: &str, number: usize) -> Vec<String> {
    let text = std::fs::read_to_string(project().join(document)).unwrap();
    let mut sections = text.split("\n## ").map(|section| section.trim_start_matches("# "));
    let section = sections.find(|section| section.starts_with(heading));
    let (blocks, _) = parts(section.unwrap_or_else(|| panic!("{document} has no section {heading}")));
    let mut typed = blocks
        .iter()
        .map(Block::commands)
        .filter(|commands| !commands.is_empty());
    typed
        .nth(number)
        .unwrap_or_else(|| panic!("{document}: {heading}: no block {number}"))
}

/// A command on one line: without its comment, and without what `<<EOF` takes in.
fn plain(command: &str) -> String {
    let first = command.split("<<EOF").next().unwrap().replace("\\\n", " ");
    let words: Vec<&str> = first.split(" #").next().unwrap().split_whitespace().collect();
    words.join(" ")
}

/// Commands in the running text, between backticks: those of ours, and others that are more than a name.
fn in_prose(lines: &[&str]) -> Vec<String> {
    let text = lines.join("\n");
    let spans = text
        .split("\n\n")
        .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    let commands = spans.map(plain).filter(|span| is_a_command(span));
    commands
        .filter(|span| {
            span.split_whitespace().count() > 2 || span.starts_with("make ") || span.starts_with("quality-officer ")
        })
        .collect()
}

/// Every file that tells a person to type something.
fn told() -> Vec<PathBuf> {
    let mut found = documents::documents();
    documents::files(&project().join("examples"), "yaml", &mut found);
    for file in ["NOTES.txt", "../values.yaml"] {
        found.push(project().join("charts/quality-officer/templates").join(file));
    }
    found
}

/// What a file tells to type.
fn typed(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("md") => {
            let (blocks, prose) = parts(&text);
            for block in &blocks {
                let hidden = block.lines.iter().find(|line| is_a_command(line));
                assert!(
                    !block.language.is_empty() || hidden.is_none(),
                    "{}: a block with {hidden:?} is to say sh, console or text",
                    path.display()
                );
            }
            let in_blocks = blocks.iter().flat_map(Block::commands);
            let indented = prose.iter().filter_map(|line| line.strip_prefix("    "));
            let indented = indented.filter(|line| is_a_command(line)).map(ToOwned::to_owned);
            let lines: Vec<String> = in_blocks.chain(indented).map(|command| plain(&command)).collect();
            lines.into_iter().chain(in_prose(&prose)).collect()
        }
        Some("txt") => text
            .lines()
            .map(str::trim)
            .filter(|line| is_a_command(line) && !line.contains("{{"))
            .map(plain)
            .collect(),
        _ => {
            let comments = text.lines().filter_map(|line| line.trim_start().strip_prefix('#'));
            in_prose(&comments.collect::<Vec<_>>())
        }
    }
}

/// Every command and the files that have it.
fn all() -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in told() {
        for command in typed(&path) {
            all.entry(command).or_default().insert(path.display().to_string());
        }
    }
    all
}

/// commands.yaml, which says what each part is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    tested: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    targets: BTreeMap<String, String>,
    elsewhere: BTreeMap<String, String>,
}

fn table() -> Table {
    let text = std::fs::read_to_string(project().join("tests/ship/commands.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    // What comes after the last star is the end.
    last.map_or(rest.is_empty(), |part| {
        part.is_empty() || rest.is_empty() || text.ends_with(part)
    })
}

/// The functions of a file: their names and texts, and whether they are tests.
fn functions(text: &str) -> BTreeMap<String, (String, bool)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let Some(rest) = line.split("fn ").nth(1) else { continue };
        let name: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let end = format!("{indent}}}");
        let body: Vec<&str> = lines[at..].iter().copied().take_while(|line| *line != end).collect();
        let is_test = lines[..at]
            .iter()
            .rev()
            .take_while(|line| line.trim_start().starts_with("#["))
            .any(|line| line.contains("test"));
        found.insert(name, (body.join("\n"), is_test));
    }
    found
}

/// The text of a test with that of what it calls in its file.
fn reached(functions: &BTreeMap<String, (String, bool)>, test: &str) -> String {
    let (mut waiting, mut seen, mut text) = (vec![test], BTreeSet::new(), String::new());
    while let Some(name) = waiting.pop() {
        if seen.insert(name) {
            let body = &functions[name].0;
            text.push_str(body);
            waiting.extend(
                functions
                    .keys()
                    .filter(|known| body.contains(&format!("{known}(")))
                    .map(String::as_str),
            );
        }
    }
    text
}

#[test]
fn every_command_of_the_documents_is_run_by_what_the_table_names_and_the_table_has_no_other() {
    let (table, all) = (table(), all());
    assert!(all.len() > 60, "{}", all.len());
    let known: Vec<&String> = table
        .tested
        .values()
        .flat_map(BTreeMap::values)
        .flatten()
        .chain(table.elsewhere.keys())
        .collect();
    let is_known = |command: &str| known.iter().any(|pattern| matches(pattern, command));
    let unknown: Vec<_> = all
        .iter()
        .filter(|(command, _)| !command.starts_with("make ") && !is_known(command))
        .collect();
    assert!(
        unknown.is_empty(),
        "tests/ship/commands.yaml names no test for {unknown:#?}"
    );
    let unused: Vec<_> = known
        .iter()
        .filter(|pattern| !all.keys().any(|command| matches(pattern, command)))
        .collect();
    assert!(
        unused.is_empty(),
        "no document has what tests/ship/commands.yaml names: {unused:#?}"
    );
}

#[test]
fn what_the_table_names_is_a_test_that_runs_the_commands() {
    for (test, texts) in table().tested {
        let (file, name) = test.split_once("::").unwrap();
        let text = std::fs::read_to_string(project().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let functions = functions(&text);
        let (_, is_test) = functions.get(name).unwrap_or_else(|| panic!("there is no {test}"));
        assert!(is_test, "{test} is no test");
        let reached = reached(&functions, name);
        for text in texts.keys() {
            assert!(reached.contains(text), "{test} has no {text}");
        }
    }
}

#[test]
fn every_target_that_a_document_names_is_run_by_make_test_or_by_a_person_for_a_reason() {
    let makefile = std::fs::read_to_string(project().join("Makefile")).unwrap();
    let by_hand = table().targets;
    let mut named = BTreeSet::new();
    for (command, files) in all() {
        if let Some(target) = command.strip_prefix("make ").and_then(|rest| rest.split(' ').next()) {
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{command} of {files:?}: no such target"
            );
            assert!(
                target == "test" || by_hand.contains_key(target),
                "who runs {command}? ({files:?})"
            );
            named.insert(target.to_owned());
        }
    }
    assert!(named.contains("test"), "{named:?}");
    let idle: Vec<_> = by_hand.keys().filter(|target| !named.contains(*target)).collect();
    assert!(idle.is_empty(), "no document has these targets: {idle:?}");
}

#[test]
fn files_that_the_commands_of_the_documents_name_are_there() {
    let folders = ["crds/", "deploy/", "examples/", "charts/", "schemas/", "scripts/"];
    for (command, files) in all() {
        for word in command
            .split([' ', '='])
            .filter(|word| folders.iter().any(|folder| word.starts_with(folder)))
        {
            assert!(project().join(word).exists(), "{files:?}: {command}");
        }
    }
}

#[test]
fn the_check_of_the_commands_can_fail() {
    for (pattern, text, expected) in [
        ("kubectl get *", "kubectl get pods", true),
        ("kubectl get *", "kubectl delete pods", false),
        ("kubectl * -n shop", "kubectl get pods -n shop", true),
        ("kubectl * -n shop", "kubectl get pods -n shop -o yaml", false),
        ("kubectl get", "kubectl get pods", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern}: {text}");
    }
    let text = "\n## A\n```sh\na \\\n  b # why\n\nc <<EOF\nd\nEOF\n```\n~~~\n```x\n~~~\n`kubectl get all` `kubectl`\n";
    let (blocks, prose) = parts(text);
    let commands = blocks[0].commands();
    assert_eq!(commands, ["a \\\n  b # why", "c <<EOF\nd\nEOF"]);
    assert_eq!(
        commands.iter().map(|command| plain(command)).collect::<Vec<_>>(),
        ["a b", "c"]
    );
    assert_eq!(
        (blocks.len(), in_prose(&prose)),
        (2, vec!["kubectl get all".to_owned()])
    );
    let file = "#[test]\nfn a() {\n    b();\n}\n\nfn b() {\n    run(\"x\");\n}\n\nfn c() {\n    run(\"y\");\n}\n";
    let functions = functions(file);
    assert!(functions["a"].1 && !functions["b"].1);
    let text = reached(&functions, "a");
    assert!(text.contains("run(\"x\")") && !text.contains("run(\"y\")"), "{text}");
}
