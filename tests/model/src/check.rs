//! Runs the checker and says what it found.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// What the checker found.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Different states that it saw.
    pub states: usize,
    /// Invariants that some history breaks, each with a shortest such history: one thread walks, breadth first.
    pub broken: Vec<(&'static str, Vec<String>)>,
    /// Interesting states that no history reaches: the model does less than it should.
    pub unreached: Vec<&'static str>,
}

impl Verdict {
    /// Whether all invariants hold, and what should be possible is.
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.unreached.is_empty()
    }

    /// The shortest history that breaks the invariant whose letter this is.
    pub fn history(&self, invariant: char) -> Option<&[String]> {
        let found = self.broken.iter().find(|(name, _)| name.starts_with(invariant));
        found.map(|(_, history)| history.as_slice())
    }
}

/// Walks through all states.
pub fn check_all<M>(model: M) -> Verdict
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Debug + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq,
{
    check(model, HasDiscoveries::All)
}

/// Walks until the invariant with this letter is broken, or through all states.
pub fn check_for<M>(model: M, invariant: char) -> Verdict
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Debug + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq,
{
    let named = model.properties().into_iter().map(|property| property.name);
    let wanted: BTreeSet<_> = named.filter(|name| name.starts_with(invariant)).collect();
    assert_eq!(wanted.len(), 1, "the model has one invariant {invariant}");
    check(model, HasDiscoveries::AllOf(wanted))
}

fn check<M>(model: M, until: HasDiscoveries) -> Verdict
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Debug + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq,
{
    let properties = model.properties();
    let checker = model.checker().finish_when(until).spawn_bfs().join();
    let found = checker.discoveries();
    let (mut broken, mut unreached) = (Vec::new(), Vec::new());
    for property in properties {
        match (property.expectation, found.get(property.name)) {
            (Expectation::Always, Some(path)) => {
                let history =
                    path.clone().into_actions().iter().map(|action| format!("{action:?}")).collect();
                broken.push((property.name, history));
            }
            (Expectation::Sometimes, None) => unreached.push(property.name),
            _ => {}
        }
    }
    Verdict { states: checker.unique_state_count(), broken, unreached }
}
