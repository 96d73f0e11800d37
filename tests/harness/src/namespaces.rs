use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_services::skip;

/// Set, to the test's directory, inside the namespaces.
const INSIDE: &str = "AQUIFER_TEST_INSIDE";
const NAMESPACES: &[&str] = &["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Runs the test `name` of this program again in namespaces of its own, which the kernel takes down with it however it ends:
/// its processes, mounts and network. Inside, gives a directory below `parent` for its files; outside, waits for its end
/// and gives `None`, as it does where the machine does not allow it: then the test counts as skipped.
///
/// # Panics
/// If the test fails inside.
pub fn in_own_namespaces(name: &str, parent: &Path) -> Option<PathBuf> {
    if let Some(dir) = env::var_os(INSIDE) {
        return Some(dir.into());
    }
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
    let dir = Directory::fresh(parent, name);
    // Whoever kills this process, kills unshare, and with it process 1 of the namespaces and so all in there.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args(NAMESPACES)
        .arg(env::current_exe().expect("a test knows its program"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, &dir.0)
        .status()
        .expect("setpriv starts");
    assert!(status.success(), "{name} failed in its namespaces: {status}");
    None
}

/// Removed with the test, but for [`KEEP`].
struct Directory(PathBuf);

/// Set where somebody wants to see what tests leave.
const KEEP: &str = "AQUIFER_TEST_KEEP";

/// Of the directories' names; the process that owns one, and the test, follow.
const PREFIX: &str = "aquifer-run-";

impl Directory {
    /// Those of tests that were killed are removed now.
    fn fresh(parent: &Path, test: &str) -> Self {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            let ended = owner.is_some_and(|process| !Path::new("/proc").join(process).exists());
            if ended && env::var_os(KEEP).is_none() {
                // What cannot be removed now is tried again next time.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let dir = parent.join(format!("{PREFIX}{}-{test}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory for the test's files");
        Self(dir)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if env::var_os(KEEP).is_none() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
