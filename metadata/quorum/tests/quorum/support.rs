use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aquifer_image::{AlterConfigs, Command, ConfigResource, encode_snapshot};
use aquifer_quorum::{Effect, Formation, Quorum, QuorumConfig, Role, Router, StartError, Storage};
use aquifer_runtime::{Random, TaskGroup};
use aquifer_types::{LogIndex, NodeId};

/// Far beyond what anything here takes; reached only by a bug.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A command that leaves a trace: broker default `name` becomes `value`.
pub(crate) fn set(name: &str, value: &str) -> Command {
    AlterConfigs {
        resource: ConfigResource::Broker(None),
        changes: vec![(name.to_owned(), Some(value.to_owned()))],
    }
    .into()
}

/// What [`set`] left.
pub(crate) fn get(quorum: &Quorum, name: &str) -> Option<String> {
    let image = quorum.image();
    let configs = image.configs(&ConfigResource::Broker(None))?;
    configs.get(name).map(ToString::to_string)
}

/// Members of one test and their network.
pub(crate) struct Lab {
    pub(crate) router: Router,
    pub(crate) random: Random,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let random = Random::seeded(7);
        Self { router: Router::new(random.clone()), random }
    }

    /// Each member has tasks of its own, as each node has.
    pub(crate) async fn start(&self, config: QuorumConfig) -> Result<Quorum, StartError> {
        self.start_with(config, &TaskGroup::new()).await
    }

    pub(crate) async fn start_with(
        &self,
        config: QuorumConfig,
        tasks: &TaskGroup,
    ) -> Result<Quorum, StartError> {
        let network = self.router.endpoint(config.node);
        let quorum = Quorum::start(config, network, &self.random, tasks).await?;
        self.router.attach(&quorum);
        Ok(quorum)
    }

    /// Member `node` of the voters 1, 2, 3, with small snapshots and a short patience.
    pub(crate) fn one_of_three(node: u32, storage: Storage) -> QuorumConfig {
        let voters = (1..=3).map(|node| (NodeId(node), format!("node-{node}"))).collect::<BTreeMap<_, _>>();
        let mut config = QuorumConfig::new(NodeId(node), storage, Formation::Bootstrap(voters));
        config.propose_limit = Duration::from_secs(2);
        config
    }
}

/// The only voter, in `dir`.
pub(crate) fn single(dir: &Path) -> QuorumConfig {
    QuorumConfig::single(NodeId(1), dir)
}

/// Waits until `condition` holds. Polls, because the conditions look at several members at once.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

/// Proposes until it is carried out. A leader of the first moments refuses, for want of a majority's answer.
pub(crate) async fn commit(member: &Quorum, command: Command) -> LogIndex {
    let command = Arc::new(command);
    let proposing = async {
        loop {
            match member.propose(command.clone()).await {
                Ok((index, verdict)) => {
                    verdict.unwrap();
                    return index;
                }
                Err(error) if error.effect() == Effect::None => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, proposing).await.expect("a leader within the patience")
}

/// Waits until one of `members` leads and the cluster has its id everywhere.
pub(crate) async fn leader_of(members: &[Quorum]) -> Quorum {
    let leads =
        |member: &&Quorum| member.status().role == Role::Leader && member.image().cluster_id().is_some();
    until("a leader", || members.iter().any(|member| leads(&member))).await;
    members.iter().find(leads).expect("just seen").clone()
}

/// Waits until all have applied the same entries, and checks that their images are equal byte for byte.
pub(crate) async fn agree(members: &[Quorum]) {
    until("equal indexes", || {
        let mut applied = members.iter().map(|member| member.image().applied());
        let first = applied.next();
        applied.all(|other| Some(other) == first)
    })
    .await;
    let images: Vec<_> = members.iter().map(|member| encode_snapshot(&member.image())).collect();
    assert!(images.windows(2).all(|pair| pair[0] == pair[1]), "images differ at the same index");
}
