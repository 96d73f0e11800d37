use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where a run took place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model name.
    pub processor: String,
    /// Processors that the kernel gives us.
    pub processors: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Device and file system that hold all systems' data.
    pub disk: String,
}

impl Machine {
    /// This one, with the disk under `directory`.
    pub fn here(directory: &Path) -> Self {
        let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            processor,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib << 10,
            kernel: text("/proc/sys/kernel/osrelease"),
            disk: disk_of(directory),
        }
    }
}

/// The first line that a program prints, on either output; "unknown" if it does not run.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let printed = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let printed = String::from_utf8_lossy(&printed);
    printed.lines().next().filter(|line| !line.is_empty()).unwrap_or("unknown").to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    text(path).lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The mount with the longest path that leads to `directory`.
fn disk_of(directory: &Path) -> String {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let mounts = text("/proc/mounts");
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let found =
        mounts.filter(|(_, path, _)| directory.starts_with(path)).max_by_key(|(_, path, _)| path.len());
    found.map_or("unknown".to_owned(), |(device, _, kind)| format!("{device}, {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::here(Path::new("/proc"));
        assert!(machine.processors > 0 && machine.memory_bytes > 1 << 20);
        assert!(!machine.kernel.is_empty());
        assert!(machine.disk.ends_with("proc"), "{}", machine.disk);
    }
}
