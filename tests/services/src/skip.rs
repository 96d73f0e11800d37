use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

use crate::ServiceError;

/// The service, or None after the test was reported as skipped because it is not installed.
///
/// # Panics
/// If it is installed and did not start: that is a failure of the test.
pub fn or_skip<T>(started: Result<T, ServiceError>) -> Option<T> {
    match started {
        Ok(service) => Some(service),
        Err(missing @ ServiceError::Missing(_)) => {
            skip(&missing.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Reports the running test as skipped: a line on standard error, and one in the file that
/// `$AQUIFER_SKIP_LOG` names, where CI counts them.
#[expect(clippy::print_stderr, reason = "a test's way to tell a person")]
pub fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {test}: {reason}\n");
    eprint!("{line}");
    let Some(path) = env::var_os("AQUIFER_SKIP_LOG") else { return };
    // One write in append mode: lines of tests that run side by side do not mix.
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut log| log.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("cannot count a skipped test in {}: {error}", path.to_string_lossy());
    }
}
