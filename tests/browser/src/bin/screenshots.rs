//! Pictures of the report page: `screenshots RECORDS-FOLDER PICTURES-FOLDER`; with `--whole` whole pages and the PDF too.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{path::Path, process::ExitCode};

use browser::{BrowserError, Chromium, MISSING, Theme, records};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let whole = arguments.iter().any(|argument| argument == "--whole");
    let folders: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let [from, to] = folders.as_slice() else {
        eprintln!("screenshots: usage: screenshots RECORDS-FOLDER PICTURES-FOLDER [--whole]");
        return ExitCode::from(2);
    };
    match pictures(Path::new(from), Path::new(to), whole) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("screenshots: {error}");
            ExitCode::FAILURE
        }
    }
}

fn pictures(from: &Path, to: &Path, whole: bool) -> Result<(), BrowserError> {
    let page = quality_render::html_report::page(&records::read(from)?);
    let io = |what: &'static str| {
        move |source| BrowserError::Io {
            what: what.to_owned(),
            source,
        }
    };
    std::fs::create_dir_all(to).map_err(io("make the pictures' folder"))?;
    let folder = tempfile::tempdir().map_err(io("make a folder"))?;
    let file = folder.path().join("report.html");
    std::fs::write(&file, &page).map_err(io("write the page"))?;
    println!("{} bytes of HTML", page.len());
    let program = Chromium::find().ok_or_else(|| BrowserError::Answer(MISSING.to_owned()))?;
    let browser = Chromium::start(&program)?;
    let mut tab = browser.tab()?;
    let url = format!("file://{}", file.display());
    let views = [
        ("report-light", 1_080, 860, Theme::Light, ""),
        ("report-charts", 1_080, 1_040, Theme::Light, "#charts"),
        ("report-dark", 1_080, 860, Theme::Dark, "#latency"),
        ("report-phone", 360, 780, Theme::Dark, ""),
        ("report-phone-charts", 360, 1_100, Theme::Light, "#charts"),
    ];
    for (name, width, height, theme, anchor) in views {
        tab.look(width, height, theme)?;
        // Another page in between: to go to an anchor of the same page loads nothing.
        tab.open("about:blank")?;
        tab.open(&format!("{url}{anchor}"))?;
        let mut save = |name: String, whole| -> Result<(), BrowserError> {
            let picture = tab.screenshot(whole)?;
            let path = to.join(name);
            std::fs::write(&path, &picture).map_err(io("write a picture"))?;
            println!("{}: {} KiB", path.display(), picture.len().div_ceil(1_024));
            Ok(())
        };
        save(format!("{name}.png"), false)?;
        if whole && anchor.is_empty() {
            save(format!("{name}-whole.png"), true)?;
        }
    }
    if whole {
        tab.look(1_080, 860, Theme::Light)?;
        tab.open("about:blank")?;
        tab.open(&url)?;
        std::fs::write(to.join("report.pdf"), tab.pdf()?).map_err(io("write the PDF"))?;
        std::fs::write(to.join("report.html"), &page).map_err(io("write the page"))?;
    }
    Ok(())
}
