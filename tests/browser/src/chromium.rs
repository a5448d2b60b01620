//! Chromium without a window, over the `DevTools` protocol on a loopback port of its own choice.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, stream::MaybeTlsStream};

use crate::BrowserError;

/// Everything that is asked of the browser takes less.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// `prefers-color-scheme: light`.
    Light,
    /// `prefers-color-scheme: dark`.
    Dark,
    /// On paper.
    Print,
}

/// A browser; it ends with this value.
pub struct Chromium {
    child: Child,
    // Removed after the process that uses it has ended.
    profile: tempfile::TempDir,
    address: String,
}

/// A page in it.
pub struct Tab {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: String,
    next: u64,
    events: Vec<Value>,
}

impl Chromium {
    /// Where it is installed.
    pub fn find() -> Option<PathBuf> {
        if let Some(named) = std::env::var_os("CHROMIUM").map(PathBuf::from) {
            return named.is_file().then_some(named);
        }
        let path = std::env::var_os("PATH")?;
        let names = ["chromium", "chromium-browser", "google-chrome"];
        std::env::split_paths(&path)
            .flat_map(|folder| names.map(|name| folder.join(name)))
            .find(|program| program.is_file())
    }

    /// Starts it. It resolves no name: nothing but this machine can be reached.
    pub fn start(program: &Path) -> Result<Self, BrowserError> {
        let profile = tempfile::tempdir().map_err(BrowserError::io("make a profile folder"))?;
        let child = Command::new(program)
            .args([
                "--headless=new",
                // The pages are our own and run no script; as root, and in most containers, the sandbox cannot start.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-default-browser-check",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-domain-reliability",
                "--disable-sync",
                "--disable-extensions",
                "--no-pings",
                "--hide-scrollbars",
                "--font-render-hinting=none",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(BrowserError::io(format!("start {}", program.display())))?;
        let mut browser = Self {
            child,
            address: String::new(),
            profile,
        };
        browser.address = browser.announced()?;
        Ok(browser)
    }

    /// The address that it writes into its profile once it listens.
    fn announced(&mut self) -> Result<String, BrowserError> {
        let file = self.profile.path().join("DevToolsActivePort");
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some((port, path)) = text.split_once('\n').filter(|(_, path)| !path.is_empty()) {
                return Ok(format!("ws://127.0.0.1:{port}{}", path.trim()));
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(BrowserError::Answer(format!("it ended at once: {status}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(BrowserError::Answer("it does not listen".to_owned()))
    }

    /// An empty page.
    pub fn tab(&self) -> Result<Tab, BrowserError> {
        let (socket, _) = tungstenite::connect(&self.address).map_err(Box::new)?;
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream
                .set_read_timeout(Some(PATIENCE))
                .map_err(BrowserError::io("set a deadline"))?;
        }
        let mut tab = Tab {
            socket,
            session: String::new(),
            next: 0,
            events: Vec::new(),
        };
        let made = tab.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": made["targetId"], "flatten": true});
        let attached = tab.call("Target.attachToTarget", &attach)?;
        attached["sessionId"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut tab.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(tab)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tab {
    /// One call and its answer; events that come in between are kept.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Result<Value, BrowserError> {
        self.next += 1;
        let mut request = json!({"id": self.next, "method": method, "params": parameters});
        if !self.session.is_empty() {
            request["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(request.to_string())).map_err(Box::new)?;
        loop {
            let message = self.receive()?;
            if message["id"].as_u64() != Some(self.next) {
                self.events.push(message);
                continue;
            }
            if let Some(error) = message.get("error") {
                return Err(BrowserError::Answer(format!("{method}: {error}")));
            }
            return Ok(message["result"].clone());
        }
    }

    fn receive(&mut self) -> Result<Value, BrowserError> {
        loop {
            if let Message::Text(text) = self.socket.read().map_err(Box::new)? {
                return serde_json::from_str(&text).map_err(|error| BrowserError::Answer(error.to_string()));
            }
        }
    }

    /// How it is looked at: width and height in pixels, the theme.
    pub fn look(&mut self, width: u32, height: u32, theme: Theme) -> Result<(), BrowserError> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = if theme == Theme::Dark { "dark" } else { "light" };
        // No medium of its own: what is printed is then printed as paper.
        let media = if theme == Theme::Print { "print" } else { "" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({"media": media, "features": features}),
        )?;
        Ok(())
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&mut self, url: &str) -> Result<(), BrowserError> {
        self.events.clear();
        self.call("Page.navigate", &json!({"url": url}))?;
        let is_loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(is_loaded) {
            let event = self.receive()?;
            self.events.push(event);
        }
        Ok(())
    }

    /// What a script gives.
    pub fn evaluate(&mut self, script: &str) -> Result<Value, BrowserError> {
        let parameters = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", &parameters)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(BrowserError::Answer(format!("a script: {details}"))),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Errors and warnings that the page caused, and what it asked for beside itself and inline data.
    pub fn complaints(&self) -> Vec<String> {
        let mut main = true;
        self.events
            .iter()
            .filter_map(|event| {
                let parameters = &event["params"];
                match event["method"].as_str()? {
                    "Runtime.exceptionThrown" => Some(format!("exception: {}", parameters["exceptionDetails"])),
                    "Runtime.consoleAPICalled" => Some(format!("console: {}", parameters["args"])),
                    "Log.entryAdded" => Some(format!("log: {}", parameters["entry"]["text"])),
                    "Network.requestWillBeSent" => {
                        let url = parameters["request"]["url"].as_str().unwrap_or_default();
                        let is_own = std::mem::take(&mut main) || url.starts_with("data:");
                        (!is_own).then(|| format!("request: {url}"))
                    }
                    _ => None,
                }
            })
            .collect()
    }

    /// A picture of what is seen, or of the whole page.
    pub fn screenshot(&mut self, whole: bool) -> Result<Vec<u8>, BrowserError> {
        let parameters = json!({"format": "png", "captureBeyondViewport": whole, "optimizeForSpeed": false});
        let parameters = if whole {
            let size = self.call("Page.getLayoutMetrics", &json!({}))?["cssContentSize"].clone();
            let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
            json!({"format": "png", "captureBeyondViewport": true, "clip": clip})
        } else {
            parameters
        };
        let answer = self.call("Page.captureScreenshot", &parameters)?;
        decoded(&answer["data"])
    }

    /// The page on A4 paper.
    pub fn pdf(&mut self) -> Result<Vec<u8>, BrowserError> {
        let parameters = json!({"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": true});
        let answer = self.call("Page.printToPDF", &parameters)?;
        decoded(&answer["data"])
    }
}

fn decoded(data: &Value) -> Result<Vec<u8>, BrowserError> {
    STANDARD
        .decode(data.as_str().unwrap_or_default())
        .map_err(|error| BrowserError::Answer(error.to_string()))
}
