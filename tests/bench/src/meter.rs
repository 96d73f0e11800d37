use std::fs;
use std::path::Path;

use crate::BenchError;

/// `/proc` counts CPU time in these, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
/// Values of `/proc/PID/clear_refs`: 5 forgets the peak of the resident memory.
const FORGET_PEAK: &str = "5";
const KIB: f64 = 1024.0;

/// What the kernel knows of some processes, all together.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    processes: Vec<u32>,
}

impl Meter {
    pub(crate) fn of(processes: Vec<u32>) -> Self {
        Self { processes }
    }

    pub(crate) fn of_this_process() -> Self {
        Self::of(vec![std::process::id()])
    }

    /// How many processes these are.
    pub(crate) fn processes(&self) -> usize {
        self.processes.len()
    }

    /// CPU seconds that they have used, in user mode and in the kernel, over all threads.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, BenchError> {
        self.sum(|process| {
            let text = read(process, "stat")?;
            cpu_of(&text).ok_or_else(|| BenchError::Wrong(format!("/proc/{process}/stat reads '{text}'")))
        })
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<f64, BenchError> {
        self.sum(|process| status(process, "VmRSS:"))
    }

    /// The most resident memory since [`Meter::forget_peak`], or since the start where that is not allowed; of several
    /// processes the sum of what each had at its own worst moment.
    pub(crate) fn peak_bytes(&self) -> Result<f64, BenchError> {
        self.sum(|process| status(process, "VmHWM:"))
    }

    /// False if the kernel does not allow it; the peak is that of the whole life of the processes then.
    pub(crate) fn forget_peak(&self) -> bool {
        let forget = |process| fs::write(format!("/proc/{process}/clear_refs"), FORGET_PEAK).is_ok();
        self.processes.iter().all(forget)
    }

    fn sum(&self, of: impl Fn(u32) -> Result<f64, BenchError>) -> Result<f64, BenchError> {
        self.processes.iter().map(|process| of(*process)).sum()
    }
}

fn status(process: u32, field: &str) -> Result<f64, BenchError> {
    let text = read(process, "status")?;
    let kib = text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<f64>().ok())
        .map(|kib| kib * KIB)
        .ok_or_else(|| BenchError::Wrong(format!("/proc/{process}/status has no {field} (has it ended?)")))
}

fn read(process: u32, name: &str) -> Result<String, BenchError> {
    let path = format!("/proc/{process}/{name}");
    fs::read_to_string(Path::new(&path)).map_err(BenchError::io(format!("read {path} of the broker")))
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
    fn processes_are_summed() {
        let (one, both) = (Meter::of_this_process(), Meter::of(vec![std::process::id(); 2]));
        let [one, both] = [one, both].map(|meter| meter.resident_bytes().expect("memory"));
        assert!(both > 1.5 * one, "{both} is not twice {one}");
    }

    #[test]
    fn this_process_has_memory_and_has_used_no_negative_time() {
        let meter = Meter::of_this_process();
        assert!(meter.resident_bytes().expect("memory") > 0.0);
        assert!(meter.peak_bytes().expect("a peak") > 0.0);
        assert!(meter.cpu_seconds().expect("time") >= 0.0);
    }
}
