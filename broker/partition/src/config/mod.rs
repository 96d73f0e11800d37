//! Topic configs: the one table that defines them, checking what users set, and what is in force.
//!
//! ```text
//!   topic's own  >  this broker's dynamic  >  all brokers' dynamic  >  server.properties  >  default
//!   '------------------ image -----------------------------------'    '-- BrokerOptions --'  '-- table --'
//! ```

mod check;
mod definition;
mod effective;
mod topic;

pub use check::{InvalidConfig, check_topic_configs, list_entries};
pub use definition::{Bounds, Definition, Kind, Synonym, TOPIC_CONFIGS};
pub use effective::{BrokerOptions, ConfigSource, ConfigSources, EffectiveConfig, SynonymValue};
pub use topic::TopicConfig;
