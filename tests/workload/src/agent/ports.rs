//! Free ports on 127.0.0.1, none given out twice.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
};

/// The ports that this agent has given out.
#[derive(Debug, Default)]
pub struct Ports(Mutex<HashSet<u16>>);

/// A port that is free again when dropped.
#[derive(Debug)]
pub struct Lease {
    ports: Arc<Ports>,
    port: u16,
}

impl Lease {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a process could listen on it now.
    #[must_use]
    pub fn is_free(&self) -> bool {
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ports
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.port);
    }
}

impl Ports {
    /// Takes a free port.
    pub fn lease(self: &Arc<Self>) -> io::Result<Lease> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Listeners stay open during the search, so that the system does not offer the same port again.
        let mut tried = Vec::new();
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            if given.insert(port) {
                return Ok(Lease {
                    ports: Arc::clone(self),
                    port,
                });
            }
            tried.push(listener);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_while_leased() {
        let ports = Arc::<Ports>::default();
        let leases: Vec<Lease> = (0..50).map(|_| ports.lease().unwrap()).collect();
        let distinct: HashSet<u16> = leases.iter().map(Lease::port).collect();
        assert_eq!(distinct.len(), 50);
        drop(leases);
        assert!(ports.0.lock().unwrap().is_empty());
    }
}
