use std::error::Error;
use std::fmt;

use super::given::Origin;
use super::ignored;
use super::table::OPTIONS;

/// What is wrong with one option, or with where options stand, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionError {
    #[error("cannot read the configuration file {path}: {reason}")]
    File { path: String, reason: String },
    #[error("{path}, line {line}: {reason}")]
    Syntax { path: String, line: usize, reason: String },
    #[error("--set takes name=value, not '{0}'")]
    Set(String),
    #[error("unknown option '{name}' ({origin}){}", nearest(name))]
    Unknown { name: String, origin: Origin },
    #[error("option '{name}' has the value '{value}' ({origin}), expected {expected}")]
    Invalid { name: &'static str, value: String, origin: String, expected: String },
    #[error("option '{name}' ({origin}) cannot be honoured: {reason}")]
    NotBuilt { name: String, origin: Origin, reason: &'static str },
    #[error("option '{name}' is required: {remedy}")]
    Missing { name: &'static str, remedy: &'static str },
}

fn nearest(name: &str) -> String {
    let known = OPTIONS.iter().map(|spec| spec.name).chain(ignored::IGNORED.iter().map(|(name, _)| *name));
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance * 2 <= candidate.len())
        .map_or_else(
            || "; `aquifer options` lists all of them".to_owned(),
            |(_, candidate)| format!("; did you mean '{candidate}'?"),
        )
}

/// All that is wrong with the options: whoever corrects one learns of the others in the same run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems(Vec<OptionError>);

impl Problems {
    /// Adds one, unless it is known.
    pub(super) fn add(&mut self, problem: OptionError) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// The value, or one problem more.
    pub(super) fn keep<T>(&mut self, checked: Result<T, OptionError>) -> Option<T> {
        checked.map_err(|problem| self.add(problem)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<OptionError> for Problems {
    fn from(problem: OptionError) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    /// A single one as it is; several with one line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = &self.0[..] {
            return problem.fmt(f);
        }
        write!(f, "{} things are wrong with the options:", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl Error for Problems {}
