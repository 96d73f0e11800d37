//! What happened in a run, line by line, and its hash.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::Hasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_runtime::CancellationToken;
use tokio::time::Instant;

/// The trace of one run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    shown: bool,
    state: Mutex<State>,
    violated: CancellationToken,
}

#[derive(Debug)]
struct State {
    /// Of a fixed key: equal in every process.
    hasher: DefaultHasher,
    events: u64,
    violation: Option<String>,
}

impl Trace {
    /// An empty trace that begins now; `shown` also prints every line.
    pub fn new(shown: bool) -> Self {
        let state = State { hasher: DefaultHasher::new(), events: 0, violation: None };
        let state = Mutex::new(state);
        Self(Arc::new(Shared { began: Instant::now(), shown, state, violated: CancellationToken::new() }))
    }

    /// Simulated time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Adds a line.
    #[expect(clippy::print_stdout, reason = "the trace is what a replay is run for")]
    pub fn event(&self, text: fmt::Arguments<'_>) {
        let line = format!("{:>11.6} {text}", self.elapsed().as_secs_f64());
        let mut state = self.state();
        state.hasher.write(line.as_bytes());
        state.events += 1;
        if self.0.shown {
            println!("{line}");
        }
    }

    /// An invariant is broken: the run ends. The first one counts.
    pub fn violation(&self, checker: &str, text: fmt::Arguments<'_>) {
        self.event(format_args!("VIOLATION of {checker}: {text}"));
        self.state().violation.get_or_insert(format!("{checker}: {text}"));
        self.0.violated.cancel();
    }

    /// Cancelled when an invariant was broken.
    pub fn violated(&self) -> &CancellationToken {
        &self.0.violated
    }

    /// Which invariant was broken first.
    pub fn first_violation(&self) -> Option<String> {
        self.state().violation.clone()
    }

    /// Over every line so far.
    pub fn hash(&self) -> u64 {
        self.state().hasher.finish()
    }

    /// Lines so far.
    pub fn events(&self) -> u64 {
        self.state().events
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a line to a trace, as `format!` takes it.
#[macro_export]
macro_rules! event {
    ($trace:expr, $($text:tt)+) => { $trace.event(format_args!($($text)+)) };
}
