//! The Kafka server: bytes from sockets in, answers out, in order.
//!
//! It knows listeners, connections, requests and error codes. It does not know streams, the WAL or
//! objects: it asks partitions, the metadata client and the group coordinator. Its way in is
//! [`Server::start`]; a simulator hands streams of its own to [`Server::serve`].
//!
//! ```text
//!  socket ─> frame ─> guard ─> dispatch ─> handlers/<api> ─> partitions, metadata, coordinator
//!    ^     (limits, (lengths  (one table:      │  effects in request order, waits afterwards
//!    │      budget)  checked)  ApiVersions)    v
//!    └──────────── writer: replies in request order, many in one writev
//! ```
//!
//! No byte from a socket panics, aborts or over-allocates: buffers grow with what arrived, a frame
//! claims its size from a budget before it is read, and the guard walks it before a decoder sees it.

mod budget;
mod config;
mod connection;
mod creation;
mod dispatch;
mod errors;
mod frame;
mod handlers;
mod listener;
mod metrics;
mod pace;
mod reply;
mod server;
mod sessions;
mod slabs;
mod view;
mod wire;

pub use config::{BrokerOption, Limits, OptionType, ServerConfig};
pub use listener::Listener;
pub use metrics::{Metrics, Sample};
pub use server::{Server, Services};
