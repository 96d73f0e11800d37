//! What this process uses, as the kernel counts it.

use std::fs;
use std::path::Path;

/// Ticks of /proc in a second (USER_HZ): fixed by the kernel's interface, whatever its own timer does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Use since the start, or now; `None` where /proc does not tell.
#[derive(Debug, Default)]
pub(crate) struct ProcessUse {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
}

impl ProcessUse {
    pub(crate) fn now() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        Self {
            cpu_seconds: read("stat")
                .and_then(|stat| cpu_ticks(&stat))
                .map(|ticks| ticks as f64 / TICKS_PER_SECOND),
            resident_bytes: read("status").and_then(|status| resident_bytes(&status)),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            max_fds: read("limits").and_then(|limits| soft_fds(&limits)),
        }
    }
}

/// The most memory that this process can have: the least limit of its cgroup and of those around it, else the machine's;
/// `None` where the kernel does not tell.
pub(crate) fn memory_limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib(&text, "MemTotal:"));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_limit(&text));
    machine.into_iter().chain(group).min()
}

/// The least limit of the groups that `/proc/self/cgroup` names, of either version of cgroups.
fn group_limit(groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = Path::new(root).join(path.trim_start_matches('/'));
        let around = group.ancestors().take_while(|group| group.starts_with(root));
        // "max", and the root that has no such file, limit nothing.
        around.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
    });
    limits.min()
}

/// Clock ticks in user and system mode. The program's name before them may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

fn resident_bytes(status: &str) -> Option<u64> {
    kib(status, "VmRSS:")
}

/// The bytes of a line in kB, which are KiB.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// The soft limit; `None` if there is none.
fn soft_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 30 0 12345 999 555";
        assert_eq!(cpu_ticks(stat), Some(175));
        assert_eq!(resident_bytes("VmHWM:\t  900 kB\nVmRSS:\t  250 kB\nThreads:\t9\n"), Some(250 << 10));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(soft_fds(limits), Some(1024));
        assert_eq!(
            soft_fds("Max open files            unlimited            unlimited            files\n"),
            None
        );
    }

    #[test]
    fn this_process_uses_something() {
        let used = ProcessUse::now();
        assert!(
            used.cpu_seconds.is_some() && used.open_fds > Some(0) && used.max_fds > used.open_fds,
            "{used:?}"
        );
        assert!(used.resident_bytes > Some(1 << 20), "{used:?}");
    }
}
