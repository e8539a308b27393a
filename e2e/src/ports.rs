//! Ports on the loopback for servers that a test starts, ends and starts again.
//!
//! Never of those that the kernel gives to whoever connects (`ip_local_port_range`, from 32,768 on): while a server was away,
//! a connection of anybody could have its port, and the server could not come back. Nor of the range of kazoo's own suite.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Result, ensure};

const PORTS: Range<u16> = 10_000..20_000;
/// How far apart processes that start one after the other begin to look.
const PER_PROCESS: u32 = 64;

/// So many ports that nobody listens on, and that this process was not given before.
///
/// # Errors
/// All are in use.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(PER_PROCESS);
    let mut free = Vec::with_capacity(count);
    for _ in PORTS {
        if free.len() == count {
            break;
        }
        let port = nth(first.wrapping_add(GIVEN.fetch_add(1, Relaxed)));
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            free.push(port);
        }
    }
    ensure!(
        free.len() == count,
        "of the ports {PORTS:?} no {count} are free on the loopback: end what uses them"
    );
    Ok(free)
}

fn nth(number: u32) -> u16 {
    let within = number % u32::from(PORTS.end - PORTS.start);
    PORTS.start + u16::try_from(within).expect("a range of ports has no more of them")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn none_is_given_twice_and_one_in_use_is_passed_over() {
        let first = free_ports(9).expect("ports are free");
        let next = nth(u32::from(first[8] - PORTS.start) + 1);
        let _held = TcpListener::bind(("127.0.0.1", next));
        let more = free_ports(9).expect("ports are free");
        assert!(!more.contains(&next));
        let all: BTreeSet<_> = first.iter().chain(&more).collect();
        assert!(all.len() == 18 && all.iter().all(|port| PORTS.contains(port)), "{all:?}");
    }
}
