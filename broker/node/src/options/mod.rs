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
mod problems;
mod reference;
mod settings;
mod table;
mod value;

pub(crate) use given::{Given, Origin, is_secret, option_of};
pub(crate) use memory::{LIMIT as MEMORY_LIMIT, fit as fit_memory, share as memory_share};
pub(crate) use problems::{OptionError, Problems};
pub(crate) use reference::Format;
pub(crate) use settings::{
    Listener, Settings, StorageSettings, WalMode, check_values, metadata_dir, store_options,
};

pub(crate) use value::Kind;
