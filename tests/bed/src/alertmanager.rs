//! Alertmanagers for tests that raise alerts: each has its own folder and port, and passes on what it is told to.

use std::path::Path;

use serde_json::{Value, json};

use crate::go_build;
use crate::interrupt::Interrupt;
use crate::part::ALERTMANAGER;
use crate::process;
use crate::rest::http::Method;
use crate::rest::{self, Rest};
use crate::server::{self, Server};

/// Why an Alertmanager is not there, or did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] go_build::Error),
    /// It did not start.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// It refused a request.
    #[error(transparent)]
    Request(#[from] rest::Error),
}

/// A running Alertmanager. Dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Alertmanager {
    server: Server,
    client: Rest,
}

impl Alertmanager {
    /// Builds it if it is not built yet, and starts one; ready when this returns. What it is told it passes on to
    /// `webhook`, where one is given. Its folder is made in `parent`: a bed's work folder or any temporary one. Blocks
    /// for a moment: call it from `spawn_blocking` in asynchronous code.
    pub fn start(parent: &Path, webhook: Option<&str>) -> Result<Self, Error> {
        let program = go_build::program(&ALERTMANAGER, &Interrupt::default())?;
        let mut server = Server::launch::<server::Error>("alertmanager", parent, |folder, port| {
            let path = folder.join("alertmanager.json");
            std::fs::write(&path, configuration(webhook).to_string()).map_err(server::Error::io("write", &path))?;
            let mut command = process::command(&program);
            command
                .arg(format!("--config.file={}", path.display()))
                .arg(format!("--storage.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                // On its own: no gossip, no other port.
                .arg("--cluster.listen-address=");
            Ok(command)
        })?;
        server.wait_until_ready("/-/ready")?;
        Ok(Self {
            server,
            client: Rest::plain(),
        })
    }

    /// Where it listens: its base URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Its alerts, as its API shows them; resolved ones are there for a while.
    pub fn alerts(&self) -> Result<Vec<Value>, Error> {
        let url = format!("{}/api/v2/alerts", self.url());
        let answer = self.client.send(&Method::GET, &url, &[], b"")?.accepted(&url)?;
        Ok(answer.json().as_array().cloned().unwrap_or_default())
    }
}

/// One receiver; what belongs to one incident or drill is one group.
fn configuration(webhook: Option<&str>) -> Value {
    let mut receiver = json!({"name": "test"});
    if let Some(url) = webhook {
        receiver["webhook_configs"] = json!([{"url": url, "send_resolved": true}]);
    }
    json!({
        "route": {
            "receiver": "test",
            "group_by": ["..."],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [receiver],
    })
}
