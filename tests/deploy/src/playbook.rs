use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_services::Artifact;

/// What Ansible says of one host at the end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recap {
    /// The host's name in the inventory.
    pub host: String,
    /// Tasks that changed something.
    pub changed: u32,
    /// Tasks that failed.
    pub failed: u32,
}

/// Runs the collection's playbook `name` and gives what it printed, or `Err` with it if the run failed.
///
/// # Errors
/// The run's output.
///
/// # Panics
/// If Ansible cannot be started.
pub fn play(inventory: &Path, name: &str, arguments: &[&str]) -> Result<String, String> {
    let output = ansible("ansible-playbook", inventory.parent().expect("a file is in a directory"))
        // What is shown at the most talkative must not show secrets.
        .args(["-v", "--diff", "-i"])
        .arg(inventory)
        .arg(format!("aquifer.bare_metal.{name}"))
        .args(arguments)
        .output()
        .expect("ansible-playbook starts");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// Runs ansible-lint over the collection; `Err` has what it found.
///
/// # Errors
/// The findings.
///
/// # Panics
/// If it cannot be started.
pub fn lint(scratch: &Path) -> Result<(), String> {
    let mut command = ansible("ansible-lint", scratch);
    let output = command
        .current_dir(collection())
        .env("ANSIBLE_COLLECTIONS_PATH", bare_metal())
        .env("NO_COLOR", "1")
        .output()
        .expect("ansible-lint starts");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(text) }
}

/// The collection's directory.
#[must_use]
pub fn collection() -> PathBuf {
    bare_metal().join("ansible_collections/aquifer/bare_metal")
}

impl Recap {
    /// All hosts of a run's output.
    #[must_use]
    pub fn all(output: &str) -> Vec<Self> {
        let (_, recap) = output.split_once("PLAY RECAP").unwrap_or_default();
        recap.lines().filter_map(Self::parse).collect()
    }

    /// `h1 : ok=20 changed=0 unreachable=0 failed=0 …`
    fn parse(line: &str) -> Option<Self> {
        let (host, counts) = line.split_once(" : ")?;
        let count = |name: &str| {
            let word = counts.split_whitespace().find_map(|word| word.strip_prefix(name))?;
            word.strip_prefix('=')?.parse().ok()
        };
        Some(Self { host: host.trim().to_owned(), changed: count("changed")?, failed: count("failed")? })
    }
}

fn bare_metal() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/bare-metal");
    path.canonicalize().expect("deploy/bare-metal exists")
}

/// One of Ansible's programs, with its own files under `scratch`.
fn ansible(program: &str, scratch: &Path) -> Command {
    let python = Artifact::Ansible.find().expect("found before");
    let programs = python.parent().expect("a program is in a directory");
    let mut command = Command::new(programs.join(program));
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .current_dir(bare_metal())
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("ANSIBLE_CONFIG", bare_metal().join("ansible.cfg"))
        .env("ANSIBLE_HOME", scratch.join("ansible"));
    command
}

#[cfg(test)]
mod tests {
    use super::Recap;

    #[test]
    fn a_recap_is_read() {
        let text = "PLAY RECAP ****\nh1   : ok=20   changed=3    unreachable=0    failed=1    skipped=2\n";
        assert_eq!(Recap::all(text), [Recap { host: "h1".to_owned(), changed: 3, failed: 1 }]);
        assert_eq!(Recap::all("no recap : changed=1"), []);
    }
}
