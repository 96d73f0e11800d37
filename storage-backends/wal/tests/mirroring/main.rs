//! A log and its mirrors: whatever is acknowledged is on enough disks, and any enough of them give it back.

mod cluster;
mod histories;
mod link;
#[path = "../machine/mod.rs"]
mod machine;
mod rolls;
