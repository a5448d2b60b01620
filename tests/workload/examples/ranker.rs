//! Prints what a shell needs to run the demo service by hand, as JSON:
//!
//! ```text
//! cargo run -p workload --example ranker -- images                  # the table for node-agent --images
//! cargo run -p workload --example ranker -- deployment NAMESPACE TAG  # for kubectl apply -f -
//! ```

use std::process::ExitCode;

use workload::{DeploymentOptions, images, ranker_deployment};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let text = match arguments.as_slice() {
        ["images"] => serde_json::to_string_pretty(&images()),
        ["deployment", namespace, tag] => {
            serde_json::to_string_pretty(&ranker_deployment(namespace, &DeploymentOptions::release(tag)))
        }
        _ => {
            eprintln!("usage: ranker images | ranker deployment NAMESPACE TAG");
            return ExitCode::FAILURE;
        }
    };
    match text {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
