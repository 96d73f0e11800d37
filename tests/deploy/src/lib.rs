//! Debian hosts for tests of the deployment: systemd booted by `systemd-nspawn`, and Ansible run against them.
//!
//! Everything happens in namespaces of the test's own, which the kernel takes down with the test however it ends: its
//! processes, mounts, network and hosts. It knows no crate of the product: what it runs is what an operator runs.
//!
//! ```text
//!  test ──> in_own_namespaces ──> the same test again, as process 1 of its namespaces
//!                                   ├── Hosts    ──> bridge, overlay over one Debian root, systemd-nspawn, ssh
//!                                   └── Playbook ──> ansible-playbook aquifer.bare_metal.…
//! ```

mod hosts;
mod namespaces;
mod playbook;

pub use hosts::{Host, Hosts};
pub use namespaces::in_own_namespaces;
pub use playbook::{Recap, collection, lint, play};
