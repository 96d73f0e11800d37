//! The internal port: one suite for every transport, and what only one of them can show.

mod certificates;
mod conformance;
mod dying;
mod limits;
mod simulated;
mod strangers;
mod support;
