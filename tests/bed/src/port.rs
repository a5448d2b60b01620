//! Free ports on 127.0.0.1.
//!
//! A server is given its port before it binds it, so another process might take the port in between. Two things make
//! that unlikely: the ports lie below the range that the kernel hands out by itself, and each process searches from
//! a place of its own, so two beds that start together look at different ports.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;
/// How many ports a process usually needs: the distance between the starting places of neighbours.
const STRIDE: u16 = 16;

/// There is no free port.
#[derive(Debug, thiserror::Error)]
#[error("no free port on 127.0.0.1 between {FIRST} and {}", FIRST + COUNT)]
pub struct Error;

/// A port that is free now; no two calls of one process return the same one, until all were used.
pub fn free() -> Result<u16, Error> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % u32::from(COUNT / STRIDE)) as u16 * STRIDE;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (own + offset) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A child that another test forks at that moment holds a copy of the probe's socket until it runs its program:
    /// the port is free as soon as it does.
    fn bound(port: u16) -> TcpListener {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(listener) => return listener,
                Err(error) => assert!(Instant::now() < deadline, "{port}: {error}"),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn ports_are_distinct_and_can_be_bound() {
        let mut ports: Vec<_> = (0..50).map(|_| free().unwrap()).collect();
        let listeners: Vec<_> = ports.iter().map(|port| bound(*port)).collect();
        assert!(
            !listeners
                .iter()
                .any(|l| free().unwrap() == l.local_addr().unwrap().port())
        );
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }
}
