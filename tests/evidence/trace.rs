//! A long trace is read as a stream.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use crate::runs::{folder, policy};

const MEBIBYTE: u64 = 1 << 20;

/// Writes a trace of at least `bytes`, with the long arguments that profilers attach; how many bytes it became.
fn write_trace(path: &std::path::Path, bytes: u64) -> u64 {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let stack = "/usr/lib/python3/site-packages/torch/nn/modules/module.py(1553): _wrapped_call_impl;".repeat(20);
    let (mut written, mut step) = (0_u64, 0_u64);
    file.write_all(b"{\"traceEvents\": [").unwrap();
    while written < bytes {
        let comma = if step == 0 { "" } else { "," };
        let event = format!(
            "{comma}{{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"aten::op{}\",\"pid\":1,\"tid\":1,\"ts\":{},\"dur\":90,\"args\":{{\"stack\":\"{stack}\",\"step\":{step}}}}}\n",
            step % 50,
            step * 100,
        );
        file.write_all(event.as_bytes()).unwrap();
        written += event.len() as u64;
        step += 1;
    }
    file.write_all(b"]}").unwrap();
    file.flush().unwrap();
    written
}

/// The most memory that a process had at once, bytes, as long as it runs.
fn peak(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().split(' ').next()?.parse().ok()?;
    Some(kibibytes * 1_024)
}

#[test]
fn a_trace_of_300_mb_is_read_in_a_fraction_of_that() {
    let folder = folder();
    let evidence = folder.path().join("run");
    std::fs::create_dir(&evidence).unwrap();
    let length = write_trace(&evidence.join("profiler_trace.json"), 300_000_000);
    assert!(length >= 300_000_000);
    let mut child = Command::new(env!("CARGO_BIN_EXE_quality-officer"))
        .arg("check")
        .arg("-f")
        .arg(policy(folder.path()))
        .arg("--evidence")
        .arg(&evidence)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = peak(child.id()).unwrap_or(0).max(most);
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Bottleneck Analysis"), "{text}");
    assert!(most > 0 && most < 100 * MEBIBYTE, "{} MiB", most / MEBIBYTE);
    println!(
        "peak memory: {} MiB for a trace of {} MB",
        most / MEBIBYTE,
        length / 1_000_000
    );
}
