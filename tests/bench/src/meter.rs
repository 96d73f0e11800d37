use std::fs;
use std::path::Path;

use crate::BenchError;

/// `/proc` counts CPU time in these, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
/// Values of `/proc/PID/clear_refs`: 5 forgets the peak of the resident memory.
const FORGET_PEAK: &str = "5";
const KIB: f64 = 1024.0;

/// What the kernel knows of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    process: u32,
}

impl Meter {
    pub(crate) fn of(process: u32) -> Self {
        Self { process }
    }

    pub(crate) fn of_this_process() -> Self {
        Self::of(std::process::id())
    }

    /// CPU seconds that it has used, in user mode and in the kernel, over all its threads.
    pub(crate) fn cpu_seconds(self) -> Result<f64, BenchError> {
        let text = self.read("stat")?;
        cpu_of(&text).ok_or_else(|| BenchError::Wrong(format!("/proc/{}/stat reads '{text}'", self.process)))
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident_bytes(self) -> Result<f64, BenchError> {
        self.status("VmRSS:")
    }

    /// The most resident memory since [`Meter::forget_peak`], or since the start where that is not allowed.
    pub(crate) fn peak_bytes(self) -> Result<f64, BenchError> {
        self.status("VmHWM:")
    }

    /// False if the kernel does not allow it; the peak is that of the whole life of the process then.
    pub(crate) fn forget_peak(self) -> bool {
        fs::write(format!("/proc/{}/clear_refs", self.process), FORGET_PEAK).is_ok()
    }

    fn status(self, field: &str) -> Result<f64, BenchError> {
        let text = self.read("status")?;
        let kib = text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<f64>().ok()).map(|kib| kib * KIB).ok_or_else(|| {
            BenchError::Wrong(format!("/proc/{}/status has no {field} (has it ended?)", self.process))
        })
    }

    fn read(self, name: &str) -> Result<String, BenchError> {
        let path = format!("/proc/{}/{name}", self.process);
        fs::read_to_string(Path::new(&path)).map_err(BenchError::io(format!("read {path} of the broker")))
    }
}

/// The 14th and 15th field; the second is the program's name in parentheses and may hold blanks.
fn cpu_of(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1000 10";
        assert_eq!(cpu_of(stat), Some(3.0));
        assert_eq!(cpu_of("7 (broken"), None);
    }

    #[test]
    fn this_process_has_memory_and_has_used_no_negative_time() {
        let meter = Meter::of_this_process();
        assert!(meter.resident_bytes().expect("memory") > 0.0);
        assert!(meter.peak_bytes().expect("a peak") > 0.0);
        assert!(meter.cpu_seconds().expect("time") >= 0.0);
    }
}
