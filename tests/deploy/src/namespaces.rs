use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_services::{Artifact, or_skip, skip};
use tempfile::TempDir;

/// Set, to the test's directory, inside the namespaces.
const INSIDE: &str = "AQUIFER_DEPLOY_INSIDE";
const NAMESPACES: &[&str] = &["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Runs the test `name` of this program again in namespaces of its own. Inside, gives the directory for its files; outside,
/// waits for its end and gives `None`, as it does where the machine does not allow it: then the test counts as skipped.
///
/// # Panics
/// If the test fails inside.
pub fn in_own_namespaces(name: &str) -> Option<PathBuf> {
    if let Some(dir) = env::var_os(INSIDE) {
        return Some(dir.into());
    }
    let root = or_skip(Artifact::Hosts.find())?;
    or_skip(Artifact::Ansible.find())?;
    let probe =
        Command::new("unshare").args(NAMESPACES).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    let refusal = match &probe {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(refusal) = refusal {
        skip(&format!("hosts need root and namespaces: {}", refusal.trim()));
        return None;
    }
    // Beside the Debian root: overlays want a real file system, and /tmp may be none.
    let dir = fresh_directory(root.parent().expect("the root has a parent"));
    // Whoever kills this process, kills unshare, and with it process 1 of the namespaces and so all in there.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args(NAMESPACES)
        .arg(env::current_exe().expect("a test knows its program"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, dir.path())
        .status()
        .expect("setpriv starts");
    assert!(status.success(), "{name} failed in its namespaces: {status}");
    None
}

/// A directory that is removed with the test; those of tests that were killed are removed now.
fn fresh_directory(parent: &Path) -> TempDir {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("run-").and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // What cannot be removed now is tried again next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("run-{}-", std::process::id()))
        .tempdir_in(parent)
        .expect("a directory beside the Debian root")
}
