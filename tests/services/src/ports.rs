use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use aquifer_runtime::Random;

/// Below the ports that the kernel hands out for outgoing connections, so that a neighbour's socket does
/// not take one between our look and the service's bind.
const PORTS: Range<u16> = 15_000..32_000;

/// A port on loopback that nobody listens on.
pub fn free_port() -> u16 {
    free_ports::<1>()[0]
}

/// Distinct ports on loopback that nobody listens on. Another process may take one before you do: start
/// again with others then.
///
/// # Panics
/// If a thousand guesses find none.
pub fn free_ports<const N: usize>() -> [u16; N] {
    many_free_ports(N).try_into().expect("as many as were asked for")
}

/// As [`free_ports`], as many as the caller knows when it runs.
///
/// # Panics
/// If a thousand guesses find too few.
pub fn many_free_ports(count: usize) -> Vec<u16> {
    let random = Random::from_os();
    // All are held until all are found, so that they differ.
    let held: Vec<TcpListener> = (0..1000)
        .filter_map(|_| {
            let port = PORTS.start + random.below(PORTS.len() as u64) as u16;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
        })
        .take(count)
        .collect();
    assert_eq!(held.len(), count, "too few free ports below 32000 on this machine");
    held.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let ports: [u16; 20] = free_ports();
        let listeners: Vec<_> =
            ports.iter().map(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))).collect();
        assert!(listeners.iter().all(Result::is_ok));
        assert!(ports.iter().all(|&port| port < 32_768));
    }
}
