//! The report page as a reader sees it: in a real browser, light and dark, on a desk and on a phone. Where no Chromium is
//! installed this says so and passes; the page itself is tested in `crates/render/src/html_report` all the same.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::path::{Path, PathBuf};

use browser::{CHECKS, Chromium, MISSING, Tab, Theme, records};
use quality_render::html_report::{Entry, index, page};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/page").join(name)
}

/// Every page that is looked at: its name and its HTML.
fn pages() -> Vec<(&'static str, String)> {
    let full = records::read(&data("full")).unwrap();
    let mut healthy = full.clone();
    let status = healthy.report.status.as_mut().unwrap();
    (status.verdict, status.rollback) = ("HEALTHY".into(), "READY".into());
    status.findings.clear();
    // A policy that is a few looks old, and one whose marks lie close together.
    let newest = status.history.points.len();
    status.history.points.drain(..newest - 6);
    let mut long = full.clone();
    let name = "a-name-without-any-place-to-break-".repeat(7);
    long.report.metadata.namespace = Some(name.clone());
    long.report.status.as_mut().unwrap().incident.clone_from(&name);
    for incident in &mut long.incidents {
        incident.metadata.name = Some(name.clone());
    }
    for drill in &mut long.drills {
        drill.metadata.name = Some(name.clone());
    }
    let mut hostile = full.clone();
    let status = hostile.report.status.as_mut().unwrap();
    for text in [
        "<script>document.title = 'taken'</script>",
        "<img src=http://127.0.0.1:9/x onerror=alert(1)>",
        "\"onload=\"alert(1)",
    ] {
        status.findings.push(text.into());
        status.sections[0].text.push_str(text);
        status.history.stacks[0].frames.push_str(text);
        status.history.releases[1].image.push_str(text);
    }
    let entries = [
        Entry::from(&full.report),
        Entry::from(&healthy.report),
        Entry::from(&long.report),
    ];
    vec![
        ("full", page(&full)),
        ("healthy", page(&healthy)),
        ("long", page(&long)),
        ("hostile", page(&hostile)),
        ("empty", page(&records::read(&data("empty")).unwrap())),
        ("index", index(&entries, true)),
    ]
}

fn checked(tab: &mut Tab, url: &str, name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (width, height) in [(360, 780), (768, 1_024), (1_280, 900)] {
        for theme in [Theme::Light, Theme::Dark, Theme::Print] {
            if theme == Theme::Print && width != 768 {
                continue;
            }
            tab.look(width, height, theme).unwrap();
            tab.open(url).unwrap();
            let mut say = |problem: &str| problems.push(format!("{name}, {width} px, {theme:?}: {problem}"));
            let found = tab.evaluate(CHECKS).unwrap();
            let found = found.as_array().unwrap().iter().filter_map(|problem| problem.as_str());
            found.for_each(&mut say);
            tab.complaints().iter().for_each(|complaint| say(complaint));
        }
    }
    problems
}

#[test]
fn the_page_is_whole_legible_and_quiet_in_a_browser() {
    let Some(program) = Chromium::find() else {
        eprintln!("skipped: {MISSING}");
        return;
    };
    let browser = Chromium::start(&program).unwrap();
    let mut tab = browser.tab().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut problems = Vec::new();
    for (name, html) in pages() {
        let file = folder.path().join(format!("{name}.html"));
        std::fs::write(&file, html).unwrap();
        problems.extend(checked(&mut tab, &format!("file://{}", file.display()), name));
    }
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn the_checks_of_a_page_find_what_they_are_for() {
    let Some(program) = Chromium::find() else {
        eprintln!("skipped: {MISSING}");
        return;
    };
    let browser = Chromium::start(&program).unwrap();
    let mut tab = browser.tab().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.html");
    let bad = "<html><body><h1 style='color:#aaa;width:900px'>pale and wide</h1><script>console.log('x')</script>\
               <img src='http://127.0.0.1:9/x'><figure id=f></figure></body></html>";
    std::fs::write(&file, bad).unwrap();
    let found = checked(&mut tab, &format!("file://{}", file.display()), "bad").join("\n");
    for words in [
        "contrast 2.",
        "the page is ",
        "a script",
        "console:",
        "request: http://127.0.0.1:9/x",
        "no heading",
    ] {
        assert!(found.contains(words), "{words}: {found}");
    }
}

#[test]
fn the_page_prints() {
    let Some(program) = Chromium::find() else {
        eprintln!("skipped: {MISSING}");
        return;
    };
    let browser = Chromium::start(&program).unwrap();
    let mut tab = browser.tab().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    std::fs::write(&file, page(&records::read(&data("full")).unwrap())).unwrap();
    tab.look(1_280, 900, Theme::Dark).unwrap();
    tab.open(&format!("file://{}", file.display())).unwrap();
    let pdf = tab.pdf().unwrap();
    let pages = pdf.windows(12).filter(|bytes| bytes == b"/Type /Page\n").count();
    assert!(pdf.starts_with(b"%PDF") && (2..=14).contains(&pages), "{pages} pages");
}
