use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aquifer_harness::{LIMIT, kafka_classes, log_configuration, script};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A JVM that runs Kafka's command line tools one after the other.
#[derive(Debug)]
pub struct JavaTools {
    jvm: Child,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    dir: TempDir,
    runs: u32,
}

/// What a tool said.
#[derive(Debug)]
pub struct ToolOutput {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    what: String,
}

impl ToolOutput {
    /// Its standard output.
    ///
    /// # Panics
    /// If the tool failed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{} failed:\n{}\n{}", self.what, self.out, self.err);
        self.out
    }

    /// Both outputs of a tool that was to fail.
    ///
    /// # Panics
    /// If the tool did not fail.
    pub fn failed(self) -> String {
        assert_ne!(self.code, 0, "{} did not fail:\n{}\n{}", self.what, self.out, self.err);
        format!("{}\n{}", self.out, self.err)
    }
}

impl JavaTools {
    /// Starts the JVM, or skips the test if Kafka's jars or Java are not installed.
    ///
    /// # Panics
    /// If the JVM does not come up.
    pub async fn start() -> Option<Self> {
        let classes = kafka_classes()?;
        let mut jvm = Command::new("java")
            .args([
                "-Xmx384m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xshare:auto",
                "-cp",
                &classes,
            ])
            .arg(log_configuration())
            .arg(script("Tools.java"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("java starts");
        let input = jvm.stdin.take().expect("standard input is piped");
        let answers = BufReader::new(jvm.stdout.take().expect("standard output is piped")).lines();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut tools = Self { jvm, input, answers, dir, runs: 0 };
        assert_eq!(tools.answer("the JVM", LIMIT).await, "ready");
        Some(tools)
    }

    /// Runs one tool by its main class.
    pub async fn run(&mut self, class: &str, arguments: &[&str]) -> ToolOutput {
        self.run_with_input(class, arguments, None).await
    }

    /// Runs one tool that reads `input`.
    ///
    /// # Panics
    /// If an argument holds a tab or a line break, or the tool does not end in time.
    pub async fn run_with_input(
        &mut self,
        class: &str,
        arguments: &[&str],
        input: Option<&Path>,
    ) -> ToolOutput {
        self.runs += 1;
        let out = self.dir.path().join(format!("{}.out", self.runs));
        let err = self.dir.path().join(format!("{}.err", self.runs));
        let input = input.map_or("-".to_owned(), |path| path.display().to_string());
        let mut fields = vec![out.display().to_string(), err.display().to_string(), input, class.to_owned()];
        fields.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        assert!(fields.iter().all(|field| !field.contains(['\t', '\n'])), "cannot be passed on: {fields:?}");
        let what = fields[3..].join(" ");
        self.input.write_all(format!("{}\n", fields.join("\t")).as_bytes()).await.expect("the JVM listens");
        let answer = self.answer(&what, LIMIT).await;
        let code = answer
            .strip_prefix("exit ")
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("{what}: the JVM answered '{answer}'"));
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        ToolOutput { code, out: text(&out), err: text(&err), what }
    }

    /// Runs one tool in a JVM of its own, because it does its last work when its JVM ends.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn run_alone(&self, class: &str, arguments: &[&str]) -> ToolOutput {
        let classes = kafka_classes().expect("this JVM runs from them");
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &classes])
            .arg(log_configuration())
            .arg(class)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let what = format!("{class} {}", arguments.join(" "));
        let output = tokio::time::timeout(LIMIT, command.output()).await;
        let output =
            output.unwrap_or_else(|_| panic!("{what} has not ended after {LIMIT:?}")).expect("java starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        ToolOutput { code, out: text(&output.stdout), err: text(&output.stderr), what }
    }

    async fn answer(&mut self, what: &str, limit: Duration) -> String {
        let Ok(line) = tokio::time::timeout(limit, self.answers.next_line()).await else {
            let err = fs::read_to_string(self.dir.path().join(format!("{}.err", self.runs)));
            panic!("{what} has not ended after {limit:?}; it said:\n{}", err.unwrap_or_default());
        };
        match line.expect("the JVM's answers can be read") {
            Some(line) => line,
            None => panic!("{what} ended the JVM: {:?}", self.jvm.try_wait()),
        }
    }
}
