use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::ServiceError;

/// Lines of the log that an error shows.
const SHOWN_LINES: usize = 20;

/// A process that belongs to a test: killed by its id when it is dropped, and by the kernel should the
/// thread that started it end without that.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with its output appended to `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self, ServiceError> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(ServiceError::io(format!("open {}", log.display())))?;
        let both = output.try_clone().map_err(ServiceError::io("duplicate the log"))?;
        // setpriv (util-linux) asks the kernel for the signal and becomes the program: same process id, and no
        // unsafe code between fork and exec here.
        let mut owned = Command::new("setpriv");
        owned.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            owned.env(name, value.unwrap_or(OsStr::new("")));
        }
        if let Some(directory) = command.get_current_dir() {
            owned.current_dir(directory);
        }
        let child = owned
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(both)
            .spawn()
            .map_err(ServiceError::io(format!("start {name} by setpriv")))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        // Fails only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop (SIGTERM) and waits; kills it after `limit`. True if it stopped by itself.
    pub async fn stop(&mut self, limit: Duration) -> bool {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let deadline = tokio::time::Instant::now() + limit;
        while asked.is_ok() && tokio::time::Instant::now() < deadline {
            if self.ended().is_some() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        false
    }

    /// The error that says that it ended by itself, with the end of its log.
    pub fn ended_error(&self) -> ServiceError {
        ServiceError::Ended { name: self.name.clone(), log: self.end_of_log() }
    }

    pub(crate) fn not_ready_error(&self, limit: Duration) -> ServiceError {
        ServiceError::NotReady {
            name: self.name.clone(),
            limit,
            path: self.log.clone(),
            log: self.end_of_log(),
        }
    }

    fn end_of_log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::start("sleep", &command, &directory.path().join("log")).expect("it starts");
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[tokio::test]
    async fn a_process_that_ends_shows_its_last_words() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sh");
        command.args(["-c", "echo last words; exit 3"]);
        let mut process = Process::start("sh", &command, &directory.path().join("log")).expect("it starts");
        let error = crate::ready::wait(&mut process, Duration::from_secs(10), async || false).await;
        assert!(error.expect_err("it ended").to_string().contains("last words"));
    }
}
