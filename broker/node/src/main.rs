//! The `aquifer` binary: options, wiring of the layers, the operator's HTTP port and the command line.
//!
//! The only crate that names concrete backends. It decides nothing about records or metadata; it opens
//! what the options name, hands each layer the ones below it, and stops them in the opposite order.
//!
//! ```text
//!   command line ──> options ──> node: quorum, client, store, WAL, streams, partitions, coordinator,
//!                                      server ──> HTTP, systemd
//! ```

mod cli;
mod demo;
mod http;
mod logging;
mod options;

fn main() {}
