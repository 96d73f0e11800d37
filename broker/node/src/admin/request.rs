//! What can be asked about a node, and the answers.

use std::fmt;

use aquifer_types::NodeId;
use serde::{Deserialize, Serialize};

/// A question or a wish about one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) node: NodeId,
    pub(crate) action: Action,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// How it stands with the node.
    Describe,
    /// Whether it may stop now.
    SafeToStop,
    /// It shall lead nothing and get nothing new.
    Drain,
    /// It may lead again.
    Resume,
    /// It shall be forgotten.
    Decommission,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Verdict(Verdict),
    Node(NodeReport),
}

/// Whether a node may stop now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) node: NodeId,
    pub(crate) safe: bool,
    /// What speaks against it, a sentence each.
    pub(crate) reasons: Vec<String>,
}

/// How it stands with a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeReport {
    pub(crate) node: NodeId,
    pub(crate) state: State,
    /// Whether its process is taken for alive; of a controller that is no broker: whether it keeps up.
    pub(crate) live: bool,
    /// Whether it votes in the metadata quorum.
    pub(crate) voter: bool,
    /// Partitions that it leads.
    pub(crate) leads: usize,
    /// Those of them that are on their way to others.
    pub(crate) moving: usize,
    /// What a decommission waits for, a sentence each.
    pub(crate) left: Vec<String>,
}

/// Where a node is on its way out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    InService,
    /// Its process is stopping.
    Stopping,
    /// Asked to lead nothing, and leads something still.
    Draining,
    Drained,
    /// Something of it is left.
    Decommissioning,
    Decommissioned,
    /// A controller that is no broker.
    Controller,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InService => "in service",
            Self::Stopping => "stopping",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Decommissioning => "decommissioning",
            Self::Decommissioned => "decommissioned",
            Self::Controller => "a controller, no broker",
        })
    }
}
