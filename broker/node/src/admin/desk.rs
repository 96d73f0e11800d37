//! The active controller's answers about nodes.

use std::collections::BTreeSet;

use aquifer_controller::stop_hazards;
use aquifer_image::{Broker, Command, DrainBroker, Image, Leaving, ResumeBroker, UnregisterBroker};
use aquifer_quorum::Quorum;
use aquifer_rebalancing::voters;
use aquifer_types::{Counted, NodeId};
use tracing::info;

use super::request::{Action, Answer, NodeReport, Request, State, Verdict};

/// Reasons in one answer; beyond, their number is told.
const MOST_REASONS: usize = 1_000;

/// Answers while its member leads the quorum.
pub(crate) struct Desk {
    pub(crate) quorum: Quorum,
    /// How many brokers the WAL's mode needs to acknowledge anything.
    pub(crate) min_copies: usize,
}

impl Desk {
    /// The answer, or why there is none.
    pub(crate) async fn answer(&self, request: Request) -> Result<Answer, String> {
        let Request { node, action } = request;
        self.check_known(node)?;
        match action {
            Action::Describe => {}
            Action::SafeToStop => return Ok(Answer::Verdict(self.verdict(node))),
            Action::Resume => self.propose(ResumeBroker { node }).await?,
            Action::Drain | Action::Decommission => self.drain(node, action == Action::Decommission).await?,
        }
        Ok(Answer::Node(self.report(node)))
    }

    fn check_known(&self, node: NodeId) -> Result<(), String> {
        let image = self.quorum.image();
        let members = self.quorum.members();
        let known = image.broker(node).is_some()
            || image.is_decommissioned(node)
            || members.iter().any(|member| member.node == node);
        if known {
            return Ok(());
        }
        let names =
            |nodes: BTreeSet<NodeId>| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let brokers = names(image.brokers().map(|broker| broker.node).collect());
        let members = names(members.iter().map(|member| member.node).collect());
        let brokers = if brokers.is_empty() { "none".to_owned() } else { brokers };
        Err(format!(
            "there is no node {node} in this cluster: its brokers are {brokers}, its controllers {members}"
        ))
    }

    async fn drain(&self, node: NodeId, for_good: bool) -> Result<(), String> {
        let (image, voters) = (self.quorum.image(), voters(&self.quorum));
        if for_good && voters.all.len() == 1 && voters.all.contains(&node) {
            return Err(format!(
                "node {node} is the only voter of the metadata quorum: start another controller first (process.roles=controller, in the controller.quorum.bootstrap.servers of all)"
            ));
        }
        let Some(broker) = image.broker(node) else {
            return match for_good {
                // It has no partitions: from now on it gets no vote again, and then loses the one that it has.
                true => self.propose(UnregisterBroker { node }).await,
                false => Err(format!("node {node} is no broker: there is nothing to drain")),
            };
        };
        let takers = image.brokers().filter(|other| other.node != node && other.takes_more()).count();
        let led = image.led_count(broker.node);
        if led > 0 && takers == 0 {
            return Err(format!(
                "no other broker is in service that could lead the {} of broker {node}: start one, or take one back with `aquifer node resume ID`",
                Counted(led, "partition")
            ));
        }
        self.propose(DrainBroker { node, for_good }).await
    }

    async fn propose(&self, command: impl Into<Command>) -> Result<(), String> {
        let command = command.into();
        info!(?command, "asked by an operator");
        match self.quorum.propose(command).await {
            Ok((_, Ok(_))) => Ok(()),
            Ok((_, Err(rejection))) => Err(rejection.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn verdict(&self, node: NodeId) -> Verdict {
        let hazards = stop_hazards(&self.quorum.image(), node, &voters(&self.quorum), self.min_copies);
        let reasons = hazards.iter().map(ToString::to_string).collect();
        Verdict { node, safe: hazards.is_empty(), reasons: at_most(reasons) }
    }

    fn report(&self, node: NodeId) -> NodeReport {
        let (image, voters) = (self.quorum.image(), voters(&self.quorum));
        let voter = voters.all.contains(&node);
        let state = state(&image, node, voter);
        let leaves = state == State::Decommissioning;
        let mut left = if leaves { image.left_of(node) } else { Vec::new() };
        if leaves && voter {
            let stays =
                if voters.lose(node) { "" } else { ", and the others could decide nothing without it now" };
            left.push(format!("it is a voter of the metadata quorum{stays}"));
        }
        let moves = |(topic, index)| {
            image.partition(topic, index).is_some_and(|partition| partition.moving.is_some())
        };
        NodeReport {
            node,
            state,
            live: image.broker(node).map_or(voters.current.contains(&node), Broker::is_live),
            voter,
            leads: image.led_count(node),
            moving: image.led_by(node).filter(|key| moves(*key)).count(),
            left: at_most(left),
        }
    }
}

fn state(image: &Image, node: NodeId, voter: bool) -> State {
    let leads = image.led_count(node) > 0;
    match image.broker(node).map(|broker| broker.leaving) {
        Some(None) => State::InService,
        Some(Some(Leaving::Stop)) => State::Stopping,
        Some(Some(Leaving::Drain)) if leads => State::Draining,
        Some(Some(Leaving::Drain)) => State::Drained,
        Some(Some(Leaving::Decommission)) => State::Decommissioning,
        None if !image.is_decommissioned(node) => State::Controller,
        None if voter => State::Decommissioning,
        None => State::Decommissioned,
    }
}

fn at_most(mut reasons: Vec<String>) -> Vec<String> {
    let more = reasons.len().saturating_sub(MOST_REASONS);
    if more > 0 {
        reasons.truncate(MOST_REASONS);
        reasons.push(format!("and {more} more"));
    }
    reasons
}
