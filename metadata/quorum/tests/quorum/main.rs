//! The quorum as its users see it: members on real directories, in one process and in one that is killed.

mod disk_full;
mod killed;
mod refusals;
mod single;
mod support;
mod voters;
