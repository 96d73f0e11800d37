//! Options: what the operator may say, defined once.
//!
//! ```text
//! properties file ─┐
//! AQUIFER_CONFIG_* ─┼─> Given (name, text, where) ──> Settings (typed, checked) ──> the node
//! --set name=value ─┘         │ Table: name, type, default, bounds, doc
//!                             └──> `aquifer options`, docs/configuration.md, DescribeConfigs
//! ```
//!
//! Names are Kafka's wherever Kafka has the option, so that a site's `server.properties` is a
//! starting point.

mod cluster;
mod given;
mod ignored;
mod memory;
mod reference;
mod settings;
mod table;
mod value;

pub(crate) use given::{Given, OptionError};
pub(crate) use memory::fit as fit_memory;
pub(crate) use reference::Format;
pub(crate) use settings::{Listener, Settings, StorageSettings, WalMode, metadata_dir, store_options};

pub(crate) use value::Kind;
