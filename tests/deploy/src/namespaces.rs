use std::path::PathBuf;

use aquifer_services::{Artifact, or_skip};

/// Runs the test `name` again in namespaces of its own, if what hosts and Ansible need is installed. Inside, gives a directory
/// beside the Debian root: overlays want a real file system, and /tmp may be none.
///
/// # Panics
/// If the test fails inside.
pub fn in_own_namespaces(name: &str) -> Option<PathBuf> {
    let root = or_skip(Artifact::Hosts.find())?;
    or_skip(Artifact::Ansible.find())?;
    aquifer_harness::in_own_namespaces(name, root.parent().expect("the root has a parent"))
}
