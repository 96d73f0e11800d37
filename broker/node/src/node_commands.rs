//! `aquifer node …` and `aquifer recover`: a node goes out of service and comes back, asked of any node.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use aquifer_types::Counted;
use hyper::Method;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::admin::{AdminClient, GivenUp, GoesOn, NodeReport, Recovery, SOCKET, State, Verdict};
use crate::cli::{NodeCommand, NodeFormat, NodeTarget, NodeWait, Recover, Way};
use crate::commands::{known, runtime, show};
use crate::options::{Problems, metadata_dir};

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// What `safe-to-stop` exits with when the answer is no, and `recover` while something is waited for; 1 is an error.
const NOT_NOW: u8 = 3;
/// Pause between two looks at a node that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why a node is not where it was asked to be.
#[derive(Debug, thiserror::Error)]
#[error(
    "node {node} is not {wanted} after {limit:?}: {status}; it goes on, and the same command waits for it again"
)]
struct Late {
    node: u32,
    wanted: State,
    limit: Duration,
    status: String,
}

/// Runs a subcommand of `aquifer node` to its end.
pub(crate) fn run(command: &NodeCommand) -> Outcome {
    runtime()?.block_on(async {
        match command {
            NodeCommand::Drain(wait) => wait_for(wait, "drain", State::Drained).await,
            NodeCommand::Decommission(wait) => wait_for(wait, "decommission", State::Decommissioned).await,
            NodeCommand::Resume(target) => {
                let report: NodeReport = ask(target, Method::POST, "/resume").await?;
                say(target.format, &report, &format!("node {}: {}", target.id, report.state));
                Ok(ExitCode::SUCCESS)
            }
            NodeCommand::SafeToStop(target) => {
                let verdict: Verdict = ask(target, Method::GET, "/safe-to-stop").await?;
                say(target.format, &verdict, &told(&verdict));
                Ok(if verdict.safe { ExitCode::SUCCESS } else { ExitCode::from(NOT_NOW) })
            }
        }
    })
}

/// Runs `aquifer recover` to its end.
pub(crate) fn recover(command: &Recover) -> Outcome {
    let target = &command.target;
    runtime()?.block_on(async {
        if command.accept_loss {
            let given_up: GivenUp = ask(target, Method::POST, "/accept-loss").await?;
            say(target.format, &given_up, &surrendered(&given_up));
            return Ok(ExitCode::SUCCESS);
        }
        let recovery: Recovery = ask(target, Method::GET, "/recovery").await?;
        let text = recovery
            .blocked
            .clone()
            .unwrap_or_else(|| format!("nothing of node {} is waited for", target.id));
        say(target.format, &recovery, &text);
        Ok(if recovery.blocked.is_none() { ExitCode::SUCCESS } else { ExitCode::from(NOT_NOW) })
    })
}

fn surrendered(given_up: &GivenUp) -> String {
    if given_up.given_up.is_empty() {
        return format!("nothing of node {} was given up: nothing of it was missing", given_up.node);
    }
    let mut text = format!("given up of node {}:\n", given_up.node);
    for segment in &given_up.given_up {
        text.push_str(&format!("  {segment}\n"));
    }
    text.push_str("what was acknowledged from these offsets on is lost:");
    for GoesOn { topic, partition, offset } in &given_up.partitions {
        text.push_str(&format!("\n  {topic}-{partition} {offset}"));
    }
    text
}

async fn ask<T: serde::de::DeserializeOwned>(
    target: &NodeTarget,
    method: Method,
    action: &str,
) -> Result<T, Box<dyn Error>> {
    let client = AdminClient::new(socket(&target.way)?);
    Ok(client.ask(method, &format!("/v1/nodes/{}{action}", target.id)).await?)
}

/// Where the admin socket is, by what the operator gave.
fn socket(way: &Way) -> Result<PathBuf, Problems> {
    match &way.socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(metadata_dir(&known(way.config.as_deref(), &way.sets)?)?.join(SOCKET)),
    }
}

/// Asks for `action` and waits until the node is as `wanted`.
async fn wait_for(wait: &NodeWait, action: &str, wanted: State) -> Outcome {
    let (target, limit) = (&wait.target, Duration::from_secs(wait.timeout));
    let deadline = Instant::now() + limit;
    let mut report: NodeReport = ask(target, Method::POST, &format!("/{action}")).await?;
    let mut shown = String::new();
    let mut trouble = None;
    while report.state != wanted {
        let status = trouble.take().unwrap_or_else(|| status(&report, wanted));
        if status != shown {
            progress(&format!("node {}: {status}", target.id));
            shown = status;
        }
        if Instant::now() >= deadline {
            return Err(Late { node: target.id, wanted, limit, status: shown }.into());
        }
        sleep(LOOK_AGAIN).await;
        match ask(target, Method::GET, "").await {
            Ok(newer) => report = newer,
            // The node that is asked may itself be the one that goes.
            Err(error) => trouble = Some(error.to_string()),
        }
    }
    let text = match wanted {
        State::Drained => {
            format!("node {0} leads nothing and gets nothing new until `aquifer node resume {0}`", target.id)
        }
        _ => format!("node {} is forgotten; it may be switched off", target.id),
    };
    say(target.format, &report, &text);
    Ok(ExitCode::SUCCESS)
}

/// What is waited for.
fn status(report: &NodeReport, wanted: State) -> String {
    let NodeReport { leads, moving, live, state, left, .. } = report;
    match state {
        State::Draining | State::Decommissioning if !live && *leads > 0 => {
            let wait = if *leads == 1 { "waits" } else { "wait" };
            format!("its process is not alive, and {} {wait} for it: start it", Counted(*leads, "partition"))
        }
        State::Draining => left_to_go(*leads, *moving),
        State::Decommissioning if *leads > 0 => left_to_go(*leads, *moving),
        State::Decommissioning => match left.first() {
            Some(first) => format!("{first}{}", if left.len() > 1 { ", and more" } else { "" }),
            None => "nothing of it is left".to_owned(),
        },
        other => format!("{other}, not yet {wanted}"),
    }
}

fn left_to_go(leads: usize, moving: usize) -> String {
    format!("{} left, {moving} on the way", Counted(leads, "partition"))
}

fn told(verdict: &Verdict) -> String {
    if verdict.safe {
        return format!("node {} may be stopped", verdict.node);
    }
    let reasons: Vec<_> = verdict.reasons.iter().map(|reason| format!("  - {reason}")).collect();
    format!("node {} must not be stopped now:\n{}", verdict.node, reasons.join("\n"))
}

fn say(format: NodeFormat, answer: &impl Serialize, text: &str) {
    match format {
        NodeFormat::Text => show(text),
        NodeFormat::Json => show(&serde_json::to_string(answer).expect("texts and numbers always encode")),
    }
}

#[expect(clippy::print_stderr, reason = "the command line's own voice")]
fn progress(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use aquifer_types::NodeId;

    use super::*;

    fn report(state: State, leads: usize, live: bool, left: &[&str]) -> NodeReport {
        let left = left.iter().map(|reason| (*reason).to_owned()).collect();
        NodeReport { node: NodeId(2), state, live, voter: false, leads, moving: leads, left }
    }

    #[test]
    fn the_progress_says_what_is_waited_for() {
        let moving = report(State::Draining, 5, true, &[]);
        assert_eq!(status(&moving, State::Drained), "5 partitions left, 5 on the way");
        let last = report(State::Decommissioning, 1, true, &[]);
        assert_eq!(status(&last, State::Decommissioned), "1 partition left, 1 on the way");
        let dead = |leads| status(&report(State::Draining, leads, false, &[]), State::Drained);
        assert_eq!(dead(5), "its process is not alive, and 5 partitions wait for it: start it");
        assert_eq!(dead(1), "its process is not alive, and 1 partition waits for it: start it");
        let voter = report(State::Decommissioning, 0, true, &["it is a voter", "a copy"]);
        assert_eq!(status(&voter, State::Decommissioned), "it is a voter, and more");
        let resumed = report(State::InService, 0, true, &[]);
        assert_eq!(status(&resumed, State::Drained), "in service, not yet drained");
    }

    #[test]
    fn answers_have_the_form_that_tools_read() {
        let verdict = Verdict { node: NodeId(1), safe: false, reasons: vec!["a".to_owned()] };
        let text = serde_json::to_string(&verdict).expect("it encodes");
        assert_eq!(text, r#"{"node":1,"safe":false,"reasons":["a"]}"#);
        assert_eq!(told(&verdict), "node 1 must not be stopped now:\n  - a");
        let text = serde_json::to_string(&report(State::InService, 3, true, &[])).expect("it encodes");
        assert_eq!(
            text,
            r#"{"node":2,"state":"in-service","live":true,"voter":false,"leads":3,"moving":3,"left":[]}"#
        );
    }
}
