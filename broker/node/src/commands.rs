//! What the subcommands do.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aquifer_runtime::{Clock, Random};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Duration, Instant};
use tracing::info;

use crate::certs;
use crate::cli::{Certs, Check, Command, Quickstart, Serve, Sets, StoreCommand};
use crate::demo;
use crate::local_cluster::{LocalCluster, NodeEntry, Plan};
use crate::logging;
use crate::node::Node;
use crate::node_commands;
use crate::options::{Given, OptionError, Settings, fit_memory, store_options};
use crate::process_use;

type Outcome = Result<(), Box<dyn Error>>;

/// A node waits longer for its store; who probes one wants to know.
const PROBE_RETRIES: Duration = Duration::from_secs(20);

/// The probe found what Aquifer cannot do without; scripts look at the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{url} is not a store for Aquifer: the lines that begin with FAILS say why")]
struct Unusable {
    url: String,
}

/// Runs a subcommand to its end; what the process exits with.
pub(crate) fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    let done: Outcome = match command {
        Command::Serve(arguments) => serve(&arguments),
        Command::Quickstart(arguments) => quickstart(&arguments),
        Command::Check(arguments) => check(&arguments),
        Command::Certs(Certs { dir, nodes }) => {
            certs::make(&dir, &nodes)?;
            show(&certs::advice(&dir, &nodes));
            Ok(())
        }
        Command::Node(command) => return node_commands::run(&command),
        Command::Recover(recover) => return node_commands::recover(&recover),
        Command::Store(StoreCommand::Probe { url, config, sets }) => probe(&url, config.as_deref(), &sets),
        Command::Options { format } => {
            show(&format.render());
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Tells the operator why the command failed, with all causes.
#[expect(clippy::print_stderr, reason = "the command line's own voice")]
pub(crate) fn report(error: &dyn Error) {
    eprintln!("aquifer: {error}");
    let mut shown = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !shown.contains(&text) {
            eprintln!("  because: {text}");
        }
        shown = text;
        cause = error.source();
    }
}

/// The command line's own voice.
pub(crate) fn show(text: &str) {
    // A reader that has gone, as `head` does, wants no more.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn serve(arguments: &Serve) -> Outcome {
    logging::start("info");
    if arguments.end_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    let mut given = given(arguments.config.as_deref(), &arguments.sets)?;
    fit_memory(&mut given, process_use::memory_limit())?;
    for notice in given.notices() {
        info!("{notice}");
    }
    let settings = Settings::from_given(&given)?;
    runtime()?.block_on(async {
        let node = Node::start(settings).await?;
        let stop = StopSignals::listen()?;
        sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
        until_stopped(&node, stop).await?;
        sd_notify::notify(&[sd_notify::NotifyState::Stopping])?;
        node.stop().await
    })
}

/// Names, values and what they need of each other; neither files nor addresses nor the store are looked at.
fn check(arguments: &Check) -> Outcome {
    let mut given = given(arguments.config.as_deref(), &arguments.sets)?;
    fit_memory(&mut given, process_use::memory_limit())?;
    given.notices().iter().for_each(|notice| show(notice));
    let settings = Settings::from_given(&given)?;
    show(&format!("the configuration of node {} is sound", settings.node_id));
    Ok(())
}

fn quickstart(arguments: &Quickstart) -> Outcome {
    logging::start("warn");
    std::fs::create_dir_all(&arguments.dir)
        .map_err(|source| OptionError::File { path: arguments.dir.display().to_string(), source })?;
    let dir = arguments.dir.canonicalize()?;
    if arguments.nodes > 1 {
        return runtime()?.block_on(several(arguments, dir));
    }
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
    fit_memory(&mut given, process_use::memory_limit())?;
    let settings = Settings::from_given(&given)?;
    runtime()?.block_on(async {
        let began = Instant::now();
        let node = Node::start(settings).await?;
        let stop = StopSignals::listen()?;
        let kafka = node.kafka_address().unwrap_or_default();
        show(&greeting(began.elapsed(), &kafka, node.http_address().as_deref(), &store, &dir));
        let result = if arguments.demo {
            demo::run(&kafka).await
        } else {
            show(&advice(&kafka));
            until_stopped(&node, stop).await
        };
        node.stop().await?;
        if arguments.demo && result.is_ok() {
            show(&format!(
                "  The records stay in {}. To go on:\n\n    {}\n",
                dir.display(),
                go_on(arguments)
            ));
        }
        result
    })
}

/// The command that starts the same node without the demo.
fn go_on(arguments: &Quickstart) -> String {
    let mut command = format!("aquifer quickstart --dir {}", arguments.dir.display());
    if let Some(store) = &arguments.store {
        command.push_str(&format!(" --store {store} --set …"));
    }
    command
}

/// Runs several nodes as processes until it is told to stop.
async fn several(arguments: &Quickstart, dir: PathBuf) -> Outcome {
    let store = arguments.store.clone().unwrap_or_else(|| format!("file://{}", dir.join("store").display()));
    let plan = Plan {
        dir: dir.clone(),
        listen: arguments.listen.clone(),
        nodes: arguments.nodes,
        store,
        sets: arguments.sets.assignments.clone(),
    };
    let mut cluster = LocalCluster::start(&plan).await?;
    let mut stop = StopSignals::listen()?;
    show(&cluster_greeting(&cluster.entries, &dir));
    loop {
        tokio::select! {
            _ = stop.received() => break,
            (id, how) = cluster.ended() => {
                show(&format!("  node {id} has ended ({how}); its log is {}/node-{id}/log", dir.display()));
            }
        }
    }
    cluster.stop().await;
    Ok(())
}

fn cluster_greeting(entries: &[NodeEntry], dir: &Path) -> String {
    let mut text = String::from("\n  Aquifer is ready.\n\n");
    for entry in entries {
        text.push_str(&format!("    {entry}\n"));
    }
    let first = entries[0].kafka();
    let bootstrap: Vec<&str> = entries.iter().map(NodeEntry::kafka).collect();
    text.push_str(&format!(
        "\n    files     {}\n\n  \
         A record is on the disks of up to three nodes before it is acknowledged (wal.mode mirror).\n\n  \
         Try, in another terminal:\n\n    \
         echo hello | kcat -P -b {} -t greetings\n    \
         kcat -C -b {first} -t greetings -e\n    \
         kill -9 {}        # a node dies; kcat -L -b {} shows who leads now\n\n  \
         Ctrl-C stops all of them; the records stay.\n",
        dir.display(),
        bootstrap.join(","),
        entries[entries.len() - 1].pid(),
        first,
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

fn probe(url: &str, config: Option<&Path>, sets: &Sets) -> Outcome {
    // What a request needed in attempts stands in the report.
    logging::start("error");
    let mut options = store_options(&given(config, sets)?)?;
    options.retry.within = options.retry.within.min(PROBE_RETRIES);
    runtime()?.block_on(async {
        let store = aquifer_objects::open(url, &options, Clock::system(), Random::from_os()).await?;
        let report = aquifer_objects::probe(&store).await;
        show(&report.to_string());
        if report.usable() { Ok(()) } else { Err(Unusable { url: url.to_owned() }.into()) }
    })
}

pub(crate) fn given(config: Option<&Path>, sets: &Sets) -> Result<Given, OptionError> {
    let mut given = Given::default();
    if let Some(path) = config {
        given.file(&PathBuf::from(path))?;
    }
    given.environment(std::env::vars())?;
    sets.assignments.iter().try_for_each(|assignment| given.set(assignment))?;
    Ok(given)
}

pub(crate) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("aquifer").build()
}

/// SIGTERM and SIGINT as requests to stop. Before it listens, either ends the process at once, which loses nothing.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// To be called before anybody is told that the node is ready.
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them; its name.
    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for a signal, or for an essential part of the node to fail.
async fn until_stopped(node: &Node, mut stop: StopSignals) -> Outcome {
    tokio::select! {
        name = stop.received() => info!("{name}: stopping"),
        () = node.forgotten() => info!("nothing of this node is left in the cluster: stopping for good"),
        failure = node.failed() => return Err(failure.into()),
    }
    Ok(())
}
