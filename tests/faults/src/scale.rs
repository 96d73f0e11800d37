use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

/// How much of a fault test is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// What fits into CI.
    Short,
    /// What `docs/reliability.md` states.
    Full,
}

impl Scale {
    /// The one that `AQUIFER_FAULTS` asks for: `short`, which is the default, or `full`.
    ///
    /// # Panics
    /// If it is another word.
    #[must_use]
    pub fn chosen() -> Self {
        match env::var("AQUIFER_FAULTS").as_deref() {
            Err(_) | Ok("" | "short") => Self::Short,
            Ok("full") => Self::Full,
            Ok(other) => panic!("AQUIFER_FAULTS is '{other}', expected 'short' or 'full'"),
        }
    }

    /// One or the other.
    #[must_use]
    pub fn of<T>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }

    /// So many seconds.
    #[must_use]
    pub fn seconds(self, short: u64, full: u64) -> Duration {
        Duration::from_secs(self.of(short, full))
    }
}

/// The number that an environment variable asks for.
///
/// # Panics
/// If it says something else: what was asked for would silently not be done.
#[must_use]
pub fn asked(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let number = text.parse().unwrap_or_else(|_| panic!("{variable} is '{text}', expected a number"));
    Some(number)
}

/// How many rounds: `AQUIFER_FAULTS_ROUNDS` asks for another number than the scale's.
///
/// # Panics
/// If it asks for none: nothing would be shown.
#[must_use]
pub fn rounds(short: u32, full: u32) -> u32 {
    let asked = asked("AQUIFER_FAULTS_ROUNDS").map(|number| u32::try_from(number).expect("some rounds"));
    let rounds = asked.unwrap_or_else(|| Scale::chosen().of(short, full));
    assert!(rounds > 0, "without a round nothing is shown");
    rounds
}

/// Tells what a test measured: on standard error, and in the file that `AQUIFER_FAULTS_LOG` names, which
/// `tests/run faults` shows at its end. Nothing is asserted on it.
///
/// # Panics
/// If the file cannot be written.
#[expect(clippy::print_stderr, reason = "a test's way to tell a person")]
pub fn measured(what: &str) {
    eprintln!("measured: {what}");
    let Some(path) = env::var_os("AQUIFER_FAULTS_LOG") else { return };
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let written = log.and_then(|mut log| log.write_all(format!("{what}\n").as_bytes()));
    written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
