//! The `aquifer` binary: options, wiring of the layers, the operator's HTTP port and the command line.
//!
//! The only crate that names concrete backends. It decides nothing about records or metadata; it opens
//! what the options name, hands each layer the ones below it, and stops them in the opposite order.
//!
//! ```text
//!   command line ──> options ──> node: quorum, client, store, WAL, streams, partitions, coordinator,
//!                                      server ──> HTTP, systemd
//! ```

mod admin;
mod certs;
mod cli;
mod commands;
mod demo;
mod disk_id;
mod health;
mod http;
mod local_cluster;
mod logging;
mod metrics;
mod mirrors;
mod node;
mod node_commands;
mod options;
mod port;
mod process_use;
mod quickstart;
mod stop;
mod waiting;

use std::process::ExitCode;

use clap::Parser;

/// Large buffers come and go with every request; the system's allocator would return and refault their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::run(cli::Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            commands::report(&*error);
            ExitCode::FAILURE
        }
    }
}
