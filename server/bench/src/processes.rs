//! CPU time and memory of processes, as Linux tells them.

use std::fs;

use anyhow::{Context, Result};

/// Linux counts CPU time in hundredths of a second for user space, on all machines.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds used up to a moment.
#[derive(Debug, Clone, Copy)]
pub struct CpuSeconds {
    /// By the given processes together.
    pub servers: f64,
    pub own: f64,
    /// By everything on this machine.
    pub machine: f64,
}

impl CpuSeconds {
    pub fn now(servers: &[u32]) -> Result<CpuSeconds> {
        let of_each = servers.iter().map(|pid| of_process(&pid.to_string())).collect::<Result<Vec<_>>>()?;
        Ok(CpuSeconds { servers: of_each.iter().sum(), own: of_process("self")?, machine: of_machine()? })
    }

    pub fn since(self, before: CpuSeconds) -> CpuSeconds {
        CpuSeconds {
            servers: self.servers - before.servers,
            own: self.own - before.own,
            machine: self.machine - before.machine,
        }
    }

    /// By whoever is neither a server nor this program.
    pub fn others(&self) -> f64 {
        (self.machine - self.servers - self.own).max(0.0)
    }
}

/// Resident memory in MiB, of all processes together: now, and the sum of their peaks.
pub fn resident_mib(pids: &[u32]) -> Result<(f64, f64)> {
    let mut sums = (0.0, 0.0);
    for pid in pids {
        let status = read(&format!("/proc/{pid}/status"))?;
        sums.0 += field_kib(&status, "VmRSS:") / 1024.0;
        sums.1 += field_kib(&status, "VmHWM:") / 1024.0;
    }
    Ok(sums)
}

fn of_process(pid: &str) -> Result<f64> {
    let file = format!("/proc/{pid}/stat");
    ticks_of_process(&read(&file)?).with_context(|| format!("cannot understand {file}"))
}

/// User and system time: the 14th and 15th field, of which the second may hold spaces and parentheses.
fn ticks_of_process(stat: &str) -> Option<f64> {
    let behind_name = stat.get(stat.rfind(')')? + 1..)?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn of_machine() -> Result<f64> {
    busy_of_machine(&read("/proc/stat")?).context("cannot understand /proc/stat")
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal. Busy is all but the two that wait, and
/// steal, which is time that this machine did not have.
fn busy_of_machine(stat: &str) -> Option<f64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<f64> = line.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
    let [user, nice, system, _, _, irq, softirq, ..] = fields.as_slice() else { return None };
    Some((user + nice + system + irq + softirq) / TICKS_PER_SECOND)
}

fn field_kib(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {file}: did the server end?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1000 20";
        assert_eq!(ticks_of_process(stat), Some(3.0));
        assert_eq!(ticks_of_process("garbage"), None);
    }

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(busy_of_machine("cpu  100 0 50 9000 9000 25 25 7 0 0\ncpu0 1"), Some(2.0));
        assert_eq!(busy_of_machine("cpu0 1"), None);
    }

    #[test]
    fn memory_is_summed_in_mib() {
        assert_eq!(field_kib("VmHWM:\t  4096 kB\nVmRSS:\t  2048 kB\n", "VmRSS:"), 2048.0);
        let (now, peak) = resident_mib(&[std::process::id()]).unwrap();
        assert!(now > 0.5 && peak >= now * 0.99, "{now} {peak}");
    }
}
