use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::options::Format;

/// Where a quickstart goes that names no directory.
pub(crate) const QUICKSTART_DIR: &str = "aquifer-quickstart";
/// Where its clients connect if it names no address.
pub(crate) const QUICKSTART_LISTEN: &str = "127.0.0.1:9092";

/// Kafka for private datacenters: stateless brokers over the object store you already run.
#[derive(Debug, Parser)]
#[command(name = "aquifer", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node in the foreground.
    Serve(Serve),
    /// Run a node, or several as real processes, with everything under one directory, to try Aquifer out.
    Quickstart(Quickstart),
    /// Check a configuration as `serve` would, without starting anything.
    Check(Check),
    /// What the takeover of a dead broker waits for; and giving up what only lost copies had.
    Recover(Recover),
    /// Make a CA and a certificate for each node's internal port.
    Certs(Certs),
    /// Take a node out of service and back; ask whether it may stop. Any running node can be asked about any other.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Work with an object store.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print all options with their types, defaults and meaning.
    Options {
        /// How to print them.
        #[arg(long, value_enum, default_value = "markdown")]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// A Java properties file; a Kafka broker's `server.properties` is a starting point.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Stop at once when the process that started this one ends: so do all others that it started.
    #[arg(long, hide = true)]
    pub(crate) end_with_parent: bool,
    #[command(flatten)]
    pub(crate) sets: Sets,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The properties file that `serve` would be given.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sets: Sets,
}

#[derive(Debug, Args)]
pub(crate) struct Certs {
    /// Where they go. A CA that is there already is used again.
    #[arg(long, default_value = "certs")]
    pub(crate) dir: PathBuf,
    /// Node ids, separated by commas.
    #[arg(long, value_name = "ID,…", value_delimiter = ',', required = true)]
    pub(crate) nodes: Vec<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Where WAL, metadata and (unless --store is given) objects go. Kept between runs.
    #[arg(long, default_value = QUICKSTART_DIR)]
    pub(crate) dir: PathBuf,
    /// Where Kafka clients connect. Port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = QUICKSTART_LISTEN)]
    pub(crate) listen: String,
    /// How many nodes: several run as processes of their own, on ports from --listen upwards.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) nodes: u32,
    /// The object store; default: a directory under --dir.
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Create a topic, produce, consume and verify 100 000 records, then stop. On one node.
    #[arg(long, conflicts_with = "nodes")]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) sets: Sets,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Measure and report what a store can and cannot do. Writes and deletes some objects below the URL.
    Probe {
        /// `s3://bucket/prefix`, `hdfs://nameservice/path` or `file:///path`.
        url: String,
        /// A properties file with `store.*` options; other options in it are not looked at.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        sets: Sets,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Have others lead its partitions and give it nothing new until it is resumed. Waits until it leads nothing.
    Drain(NodeWait),
    /// Put it back into service after `drain` or `decommission`.
    Resume(NodeTarget),
    /// Drain it, take its vote, and forget it. Waits until nothing of it is left; then it may be switched off.
    Decommission(NodeWait),
    /// Whether stopping it now would harm: exits 0 if not, 3 with every reason if so, 1 on an error.
    SafeToStop(NodeTarget),
}

#[derive(Debug, Args)]
pub(crate) struct NodeTarget {
    /// The node's `node.id`.
    pub(crate) id: u32,
    /// How to answer.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: NodeFormat,
    #[command(flatten)]
    pub(crate) way: Way,
}

#[derive(Debug, Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    pub(crate) target: NodeTarget,
    /// Take the broker over with the copies that answer, however few. Acknowledged records may be lost: what is given up is
    /// printed. Only when its disk and those of its mirrors will not come back.
    #[arg(long)]
    pub(crate) accept_loss: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodeWait {
    #[command(flatten)]
    pub(crate) target: NodeTarget,
    /// How long to wait. What was asked for goes on afterwards.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
}

/// How to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NodeFormat {
    /// For people.
    Text,
    /// One line of JSON, for tools.
    Json,
}

/// Which running node is asked: its admin socket.
#[derive(Debug, Args)]
pub(crate) struct Way {
    /// The configuration file of a node on this machine; only `metadata.dir` is looked at.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sets: Sets,
    /// The socket itself, instead of `admin.sock` in `metadata.dir`.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Sets {
    /// Give an option a value; goes before the file and the environment. May be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) assignments: Vec<String>,
}
