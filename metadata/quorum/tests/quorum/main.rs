//! The quorum as its users see it: members on real directories, in one process and in one that is killed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test: what fails here fails the test, and what is skipped says so"
)]

mod disk_full;
mod killed;
mod port;
mod refusals;
mod simulated;
mod single;
mod support;
mod voters;
