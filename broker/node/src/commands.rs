//! What the subcommands do.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use aquifer_runtime::{Clock, Random};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Duration;
use tracing::info;

use crate::certs;
use crate::cli::{Certs, Check, Command, Serve, Sets, StoreCommand};
use crate::logging;
use crate::node::Node;
use crate::node_commands;
use crate::options::{Given, OptionError, Problems, Settings, fit_memory, store_options};
use crate::process_use;
use crate::quickstart;
use crate::stop::Stop;

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

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
        Command::Quickstart(arguments) => quickstart::run(&arguments),
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
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::QUIT))?;
    }
    let mut given = given(arguments.config.as_deref(), &arguments.sets)?;
    fit_memory(&mut given, process_use::memory_limit());
    for notice in given.notices() {
        info!("{notice}");
    }
    let settings = Settings::from_given(&given)?;
    runtime()?.block_on(async {
        let node = Node::start(settings).await?;
        let stop = StopSignals::listen()?;
        sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
        let how = until_stopped(&node, stop).await?;
        sd_notify::notify(&[sd_notify::NotifyState::Stopping])?;
        node.stop(how).await
    })
}

/// Names, values and what they need of each other; neither files nor addresses nor the store are looked at.
fn check(arguments: &Check) -> Outcome {
    let mut given = given(arguments.config.as_deref(), &arguments.sets)?;
    fit_memory(&mut given, process_use::memory_limit());
    given.notices().iter().for_each(|notice| show(notice));
    let settings = Settings::from_given(&given)?;
    show(&format!("the configuration of node {} is sound", settings.node_id));
    Ok(())
}

fn probe(url: &str, config: Option<&Path>, sets: &Sets) -> Outcome {
    // What a request needed in attempts stands in the report.
    logging::start("error");
    let mut options = store_options(&known(config, sets)?)?;
    options.retry.within = options.retry.within.min(PROBE_RETRIES);
    runtime()?.block_on(async {
        let store = aquifer_objects::open(url, &options, Clock::system(), Random::from_os()).await?;
        let report = aquifer_objects::probe(&store).await;
        show(&report.to_string());
        if report.usable() { Ok(()) } else { Err(Unusable { url: url.to_owned() }.into()) }
    })
}

/// What the operator gave; what is wrong with names is in it.
pub(crate) fn given(config: Option<&Path>, sets: &Sets) -> Result<Given, OptionError> {
    let mut given = Given::default();
    if let Some(path) = config {
        given.file(path)?;
    }
    given.environment(std::env::vars());
    sets.assignments.iter().for_each(|assignment| given.set(assignment));
    Ok(given)
}

/// What the operator gave, for who looks at a few options only: all names are known.
pub(crate) fn known(config: Option<&Path>, sets: &Sets) -> Result<Given, Problems> {
    let given = given(config, sets)?;
    if given.problems().is_empty() { Ok(given) } else { Err(given.problems().clone()) }
}

pub(crate) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("aquifer").build()
}

/// SIGTERM, SIGINT and SIGQUIT as requests to stop. Before it listens, each ends the process at once, which loses nothing.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl StopSignals {
    /// To be called before anybody is told that the node is ready.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for one of them; its name, and what it asks for.
    pub(crate) async fn received(&mut self) -> (&'static str, Stop) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", Stop::Leaving),
            _ = self.interrupt.recv() => ("SIGINT", Stop::Leaving),
            _ = self.quit.recv() => ("SIGQUIT", Stop::AtOnce),
        }
    }
}

/// Waits for a signal, or for an essential part of the node to fail.
pub(crate) async fn until_stopped(node: &Node, mut stop: StopSignals) -> Result<Stop, Box<dyn Error>> {
    tokio::select! {
        (name, how) = stop.received() => {
            info!("{name}: stopping");
            Ok(how)
        }
        () = node.forgotten() => {
            info!("nothing of this node is left in the cluster: stopping for good");
            Ok(Stop::Leaving)
        }
        failure = node.failed() => Err(failure.into()),
    }
}
