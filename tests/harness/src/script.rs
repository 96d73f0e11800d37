use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aquifer_services::{Artifact, or_skip};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::artifacts;

/// A Python script that talks in lines: it reports what it has done, and waits for words to go on.
#[derive(Debug)]
pub struct Script {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    name: String,
    said: Vec<String>,
}

impl Script {
    /// Starts `scripts/NAME`, or skips the test if the clients are not installed.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start(name: &str, arguments: &[&str]) -> Option<Self> {
        Self::start_with(Artifact::Python, name, arguments).await
    }

    /// As [`Script::start`], with the Python that has the clients the script wants.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_with(python: Artifact, name: &str, arguments: &[&str]) -> Option<Self> {
        let mut child = interpreter(python)?
            .arg("-u")
            .arg(artifacts::script(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let input = child.stdin.take().expect("standard input is piped");
        let output = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        Some(Self { child, input, output, name: name.to_owned(), said: Vec::new() })
    }

    /// Waits until the script prints a line that begins with `word`, and returns the rest of that line.
    ///
    /// # Panics
    /// If it ends or says nothing of the kind within `limit`.
    pub async fn expect(&mut self, word: &str, limit: Duration) -> String {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            match tokio::time::timeout_at(deadline, self.output.next_line()).await {
                Err(_) => {
                    panic!("{} has not said '{word}' after {limit:?}, but:\n{}", self.name, self.story())
                }
                Ok(line) => match line.expect("a script's output can be read") {
                    None => panic!("{} ended before it said '{word}', it said:\n{}", self.name, self.story()),
                    Some(line) => {
                        let rest = line.strip_prefix(word).map(|rest| rest.trim().to_owned());
                        self.said.push(line);
                        if let Some(rest) = rest {
                            return rest;
                        }
                    }
                },
            }
        }
    }

    /// Sends the script one line.
    ///
    /// # Panics
    /// If it has ended.
    pub async fn tell(&mut self, word: &str) {
        let sent = self.input.write_all(format!("{word}\n").as_bytes()).await;
        assert!(
            sent.is_ok(),
            "{} has ended before it was told '{word}', it said:\n{}",
            self.name,
            self.story()
        );
    }

    /// Waits for the script's good end and returns all that it said.
    ///
    /// # Panics
    /// If it fails or takes longer than `limit`.
    pub async fn finish(mut self, limit: Duration) -> Vec<String> {
        let end = async {
            while let Some(line) = self.output.next_line().await.expect("a script's output can be read") {
                self.said.push(line);
            }
            self.child.wait().await.expect("a child can be waited for")
        };
        match tokio::time::timeout(limit, end).await {
            Err(_) => panic!("{} has not ended after {limit:?}, it said:\n{}", self.name, self.story()),
            Ok(status) => assert!(status.success(), "{} failed ({status}):\n{}", self.name, self.story()),
        }
        self.said
    }

    fn story(&self) -> String {
        self.said[self.said.len().saturating_sub(40)..].join("\n")
    }
}

/// Python with confluent-kafka; `None` (and a note that the test was skipped) if it is not installed.
#[must_use]
pub fn python() -> Option<Command> {
    interpreter(Artifact::Python)
}

/// A Python that finds what all scripts may import.
fn interpreter(python: Artifact) -> Option<Command> {
    let mut command = or_skip(python.find()).map(|path| owned(&path))?;
    command.env("PYTHONPATH", artifacts::shared_scripts()).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// Debian's kcat; `None` (and a note that the test was skipped) if it is not installed.
#[must_use]
pub fn kcat() -> Option<Command> {
    or_skip(aquifer_services::kcat()).map(|path| owned(&path))
}

fn owned(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true);
    command
}

/// Runs a script to its good end and returns the lines it printed that begin with `word`.
///
/// # Panics
/// If it fails or takes longer than `limit`.
pub async fn run_script(name: &str, arguments: &[&str], word: &str, limit: Duration) -> Option<Vec<String>> {
    let lines = Script::start(name, arguments).await?.finish(limit).await;
    Some(lines.into_iter().filter(|line| line.starts_with(word)).collect())
}
