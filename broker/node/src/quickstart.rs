//! `aquifer quickstart`: one node in this process, or several as processes of their own, with everything under one directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant, timeout};

use crate::cli::{QUICKSTART_DIR, QUICKSTART_LISTEN, Quickstart};
use crate::commands::{Outcome, StopSignals, given, runtime, show, until_stopped};
use crate::demo;
use crate::local_cluster::{Found, LocalCluster, NodeEntry, Plan, found, options_file};
use crate::logging;
use crate::node::Node;
use crate::options::{Settings, check_values, fit_memory, is_secret};
use crate::process_use;
use crate::stop::Stop;

/// A stop that takes longer is explained.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// What is wrong with what was asked for.
#[derive(Debug, thiserror::Error)]
enum QuickstartError {
    #[error("cannot make the directory {dir} (--dir): {source}")]
    Directory { dir: String, source: io::Error },
    #[error("--listen {0}: expected HOST:PORT, such as {QUICKSTART_LISTEN}")]
    Listen(String),
    #[error("{dir} has {there}; start that with\n\n    {command}\n\nor give another directory with --dir")]
    Other { dir: String, there: String, command: String },
}

/// Runs it until it is told to stop, or the demo is over.
pub(crate) fn run(arguments: &Quickstart) -> Outcome {
    logging::start("warn");
    check_listen(&arguments.listen)?;
    let dir = directory(&arguments.dir)?;
    check_found(arguments, found(&dir)?)?;
    if arguments.nodes > 1 { runtime()?.block_on(several(arguments, dir)) } else { one(arguments, &dir) }
}

fn check_listen(listen: &str) -> Result<(), QuickstartError> {
    let port = listen.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(_) => Ok(()),
        None => Err(QuickstartError::Listen(listen.to_owned())),
    }
}

fn directory(dir: &Path) -> Result<PathBuf, QuickstartError> {
    fs::create_dir_all(dir)
        .and_then(|()| dir.canonicalize())
        .map_err(|source| QuickstartError::Directory { dir: dir.display().to_string(), source })
}

/// What an earlier run left is gone on with as it was, or not at all: its nodes know each other by their number and ports.
fn check_found(arguments: &Quickstart, found: Found) -> Result<(), QuickstartError> {
    let (there, nodes) = match found {
        Found::One if arguments.nodes > 1 => ("a single node".to_owned(), Some(1)),
        Found::Several(Some(nodes)) if arguments.nodes != nodes => {
            (format!("a cluster of {nodes} nodes"), Some(nodes))
        }
        Found::Several(None) if arguments.nodes == 1 => {
            ("nodes of a cluster that was never ready".to_owned(), None)
        }
        Found::Nothing | Found::One | Found::Several(_) => return Ok(()),
    };
    let command = again(arguments, nodes);
    Err(QuickstartError::Other { dir: arguments.dir.display().to_string(), there, command })
}

fn one(arguments: &Quickstart, dir: &Path) -> Outcome {
    let mut given = given(None, &arguments.sets)?;
    let below = |name: &str| dir.join(name).display().to_string();
    let store = arguments.store.clone().unwrap_or_else(|| format!("file://{}", below("store")));
    for (name, value) in [
        ("node.id", "1".to_owned()),
        ("listeners", format!("PLAINTEXT://{}", arguments.listen)),
        ("metadata.dir", below("metadata")),
        ("wal.dir", below("wal")),
        ("wal.size", "512MiB".to_owned()),
        ("store.url", store.clone()),
        ("http.listen", "127.0.0.1:0".to_owned()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ] {
        given.default_to(name, value);
    }
    fit_memory(&mut given, process_use::memory_limit());
    let settings = Settings::from_given(&given)?;
    runtime()?.block_on(async {
        let began = Instant::now();
        let node = Node::start(settings).await?;
        let stop = StopSignals::listen()?;
        let kafka = node.kafka_address().unwrap_or_default();
        show(&greeting(began.elapsed(), &kafka, node.http_address().as_deref(), &store, dir));
        let result = if arguments.demo {
            demo::run(&kafka).await.map(|()| Stop::Leaving)
        } else {
            show(&advice(&kafka));
            until_stopped(&node, stop).await
        };
        stopped(node, *result.as_ref().unwrap_or(&Stop::Leaving)).await?;
        if arguments.demo && result.is_ok() {
            let go_on = again(arguments, Some(1));
            show(&format!("  The records stay in {}. To go on:\n\n    {go_on}\n", dir.display()));
        }
        result.map(drop)
    })
}

/// Stops the node, and says why if that takes long.
async fn stopped(node: Node, how: Stop) -> Outcome {
    let mut stopping = Box::pin(node.stop(how));
    match timeout(TELL_AFTER, &mut stopping).await {
        Ok(stopped) => stopped,
        Err(_) => {
            show("  Stopping: what is in the write-ahead log goes to the store first.");
            stopping.await
        }
    }
}

/// Runs several nodes as processes until it is told to stop.
async fn several(arguments: &Quickstart, dir: PathBuf) -> Outcome {
    let given = given(None, &arguments.sets)?;
    check_values(&given)?;
    let store = arguments.store.clone().unwrap_or_else(|| format!("file://{}", dir.join("store").display()));
    let (listen, nodes) = (arguments.listen.clone(), arguments.nodes);
    let memory_bytes = process_use::memory_limit();
    let plan = Plan { dir: dir.clone(), listen, nodes, store, given, memory_bytes };
    let mut cluster = LocalCluster::start(&plan).await?;
    let mut stop = StopSignals::listen()?;
    show(&cluster_greeting(&cluster.entries, &dir));
    loop {
        tokio::select! {
            _ = stop.received() => break,
            (id, how) = cluster.ended() => show(&ended(id, &how, &dir)),
        }
    }
    show("\n  Stopping all nodes.");
    tokio::select! {
        () = cluster.stop() => {}
        // Whoever asks again does not want to wait: what is acknowledged outlives that, too.
        _ = stop.received() => show("  Killing those that still run."),
    }
    Ok(())
}

fn ended(id: u32, how: &str, dir: &Path) -> String {
    format!(
        "\n  Node {id} has ended ({how}); its log is {}/node-{id}/log. To start it again, in another terminal:\n\n    \
         {}\n\n  It is that terminal's then: Ctrl-C here stops the others.",
        dir.display(),
        serve_again(id, dir)
    )
}

/// The command that starts one node of several again.
fn serve_again(id: u32, dir: &Path) -> String {
    let file = options_file(dir, id).display().to_string();
    [program(), "serve".to_owned(), "--config".to_owned(), file].map(|word| quoted(&word)).join(" ")
}

/// The command that starts so many nodes in the same directory, and in the same way otherwise but for the demo.
fn again(arguments: &Quickstart, nodes: Option<u32>) -> String {
    let Quickstart { dir, listen, nodes: _, store, demo: _, sets } = arguments;
    let mut words = vec![called(), "quickstart".to_owned()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    match nodes {
        Some(1) => {}
        Some(nodes) => option("--nodes", nodes.to_string()),
        None => option("--nodes", "N".to_owned()),
    }
    if dir != Path::new(QUICKSTART_DIR) {
        option("--dir", dir.display().to_string());
    }
    if listen != QUICKSTART_LISTEN {
        option("--listen", listen.clone());
    }
    if let Some(store) = store {
        option("--store", store.clone());
    }
    for assignment in &sets.assignments {
        let hidden =
            assignment.split_once('=').map(|(name, _)| name.trim()).filter(|name| is_credential(name));
        option("--set", hidden.map_or_else(|| assignment.clone(), |name| format!("{name}=…")));
    }
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// Whether an option's value is nobody's business who looks over a shoulder; an access key is half of a secret.
fn is_credential(name: &str) -> bool {
    is_secret(name) || name.ends_with(".key")
}

/// This program as it was called.
fn called() -> String {
    std::env::args().next().unwrap_or_else(|| "aquifer".to_owned())
}

/// This program as it can be called from any directory: by its name if it was found by that.
fn program() -> String {
    let called = called();
    let path = std::env::current_exe().ok().filter(|_| called.contains('/'));
    path.map_or(called, |path| path.display().to_string())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+…".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn cluster_greeting(entries: &[NodeEntry], dir: &Path) -> String {
    let mut text = String::from("\n  Aquifer is ready.\n\n");
    for entry in entries {
        text.push_str(&format!("    {entry}\n"));
    }
    let (first, last) = (&entries[0], &entries[entries.len() - 1]);
    let bootstrap: Vec<&str> = entries.iter().map(NodeEntry::kafka).collect();
    text.push_str(&format!(
        "\n    files     {}\n\n  \
         A record is on the disks of up to three nodes before it is acknowledged (wal.mode mirror).\n\n  \
         Try, in another terminal:\n\n    \
         echo hello | kcat -P -b {} -t greetings\n    \
         kcat -C -b {first} -t greetings -e\n    \
         kill -9 {}        # node {} dies; kcat -L -b {first} shows who leads now\n    \
         {}        # and comes back, in that terminal\n\n  \
         Ctrl-C stops all of them; the records stay.\n",
        dir.display(),
        bootstrap.join(","),
        last.pid(),
        last.id(),
        serve_again(last.id(), dir),
        first = first.kafka(),
    ));
    text
}

fn greeting(took: Duration, kafka: &str, http: Option<&str>, store: &str, dir: &Path) -> String {
    let http = http.map_or_else(|| "off".to_owned(), |address| format!("http://{address}/metrics"));
    format!(
        "\n  Aquifer is ready. It took {:.2} s.\n\n    \
         Kafka     {kafka}\n    \
         metrics   {http}\n    \
         store     {store}\n    \
         files     {}\n\n",
        took.as_secs_f64(),
        dir.display()
    )
}

fn advice(kafka: &str) -> String {
    format!(
        "\n  Try, in another terminal:\n\n    \
         echo hello | kcat -P -b {kafka} -t greetings\n    \
         kcat -C -b {kafka} -t greetings -e\n\n  \
         Ctrl-C stops it; the records stay.\n"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(words: &str) -> Quickstart {
        let words = ["aquifer", "quickstart"].into_iter().chain(words.split_whitespace());
        match Cli::parse_from(words).command {
            Command::Quickstart(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    /// Without the program.
    fn going_on(words: &str, nodes: Option<u32>) -> String {
        let command = again(&arguments(words), nodes);
        command.split_once(' ').expect("several words").1.to_owned()
    }

    #[test]
    fn the_command_to_go_on_says_what_was_said_but_for_secrets_and_the_demo() {
        assert_eq!(going_on("--demo", Some(1)), "quickstart");
        let said = "--dir a --listen 127.0.0.1:1 --store s3://b/c --set store.s3.access.key=hush \
                    --set store.s3.secret.key=hush --set num.partitions=3";
        assert_eq!(
            going_on(&format!("--demo {said}"), Some(1)),
            format!("quickstart {}", said.replace("hush", "…"))
        );
        assert_eq!(going_on("--nodes 5", Some(3)), "quickstart --nodes 3");
    }

    #[test]
    fn words_are_quoted_for_a_shell_where_they_must_be() {
        assert_eq!(quoted("/a/b-c_d.properties"), "/a/b-c_d.properties");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn what_is_there_is_gone_on_with_as_it_was_or_refused_with_the_command_that_fits() {
        let refused =
            |words: &str, found: Found| check_found(&arguments(words), found).unwrap_err().to_string();
        let five = refused("--nodes 5 --dir d", Found::Several(Some(3)));
        assert!(
            five.starts_with("d has a cluster of 3 nodes; ") && five.contains("--nodes 3 --dir d"),
            "{five}"
        );
        let one = refused("--dir d", Found::Several(Some(3)));
        assert!(one.contains("--nodes 3 --dir d"), "{one}");
        let several = refused("--nodes 3 --dir d", Found::One);
        assert!(several.contains("a single node") && several.contains("quickstart --dir d"), "{several}");
        assert!(refused("--dir d", Found::Several(None)).contains("--nodes N --dir d"));
        for (words, found) in [
            ("", Found::Nothing),
            ("--nodes 3", Found::Nothing),
            ("", Found::One),
            ("--nodes 3", Found::Several(Some(3))),
            ("--nodes 3", Found::Several(None)),
        ] {
            assert!(check_found(&arguments(words), found).is_ok(), "{words}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:0", "localhost:9092", "[::1]:9092"] {
            assert!(check_listen(good).is_ok(), "{good}");
        }
        for bad in ["9092", ":9092", "localhost", "localhost:port", "localhost:99999"] {
            assert!(check_listen(bad).is_err(), "{bad}");
        }
    }
}
