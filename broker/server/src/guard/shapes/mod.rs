//! The layouts of all requests that this broker answers, one constant per API.

mod cluster;
mod groups;
mod records;
mod topics;

pub(crate) use cluster::*;
pub(crate) use groups::*;
pub(crate) use records::*;
pub(crate) use topics::*;
