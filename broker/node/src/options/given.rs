use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::ignored;
use super::problems::{OptionError, Problems};
use super::table::{self, OptionSpec};
use super::value::Kind;

/// Environment variables with this prefix are options: `AQUIFER_CONFIG_NUM_PARTITIONS=3`.
const ENVIRONMENT_PREFIX: &str = "AQUIFER_CONFIG_";

/// Where an option was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File(PathBuf),
    Environment(String),
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::CommandLine => f.write_str("--set"),
        }
    }
}

/// The options as the operator gave them: names known, values not yet looked at.
#[derive(Debug, Default)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, (String, Origin)>,
    /// Defaults that depend on the machine.
    fitted: BTreeMap<&'static str, String>,
    notices: Vec<String>,
    /// Names that are none, and the like.
    problems: Problems,
}

impl Given {
    /// Adds a Java properties file. Of a name given twice the later counts, as in Java.
    ///
    /// # Errors
    /// It cannot be read as one.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), OptionError> {
        let shown = path.display().to_string();
        let bytes = fs::read(path)
            .map_err(|error| OptionError::File { path: shown.clone(), reason: error.to_string() })?;
        let mut lines = Vec::new();
        java_properties::PropertiesIter::new(&*bytes)
            .read_into(|name, value| lines.push((name, value)))
            .map_err(|error| OptionError::Syntax {
                path: shown,
                line: error.line_number().unwrap_or(0),
                reason: error.to_string(),
            })?;
        for (name, value) in lines {
            self.put(&name, value, Origin::File(path.to_path_buf()));
        }
        Ok(())
    }

    /// Adds the options among environment variables.
    pub(crate) fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (variable, value) in variables {
            if let Some(name) = option_of(&variable) {
                self.put(&name, value, Origin::Environment(variable.clone()));
            }
        }
    }

    /// Adds what `--set` gave.
    pub(crate) fn set(&mut self, assignment: &str) {
        match assignment.split_once('=') {
            Some((name, value)) => self.put(name.trim(), value.to_owned(), Origin::CommandLine),
            None => self.problems.add(OptionError::Set(assignment.to_owned())),
        }
    }

    /// Gives an option a value if the operator gave none.
    pub(crate) fn default_to(&mut self, name: &'static str, value: String) {
        self.values.entry(name).or_insert((value, Origin::CommandLine));
    }

    /// Gives an option another default than the table's.
    pub(super) fn fit(&mut self, name: &'static str, value: String) {
        self.fitted.insert(name, value);
    }

    /// The text of an option that was not given.
    pub(super) fn text_by_default(&self, spec: &OptionSpec) -> Option<&str> {
        self.fitted.get(spec.name).map(String::as_str).or(spec.default)
    }

    /// The text of an option and where it stands, if it was given.
    pub(crate) fn get(&self, name: &str) -> Option<(&str, &Origin)> {
        self.values.get(name).map(|(value, origin)| (value.as_str(), origin))
    }

    /// Every option that was given, and where.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &str, &Origin)> {
        self.values.iter().map(|(name, (value, origin))| (*name, value.as_str(), origin))
    }

    /// What is wrong with the names; values are not looked at.
    pub(crate) fn problems(&self) -> &Problems {
        &self.problems
    }

    /// Adds a line for the operator.
    pub(super) fn notice(&mut self, line: String) {
        self.notices.push(line);
    }

    /// Lines for the operator: of each accepted option that does nothing here, why; and what was fitted to the machine.
    pub(crate) fn notices(&self) -> &[String] {
        &self.notices
    }

    fn put(&mut self, name: &str, value: String, origin: Origin) {
        if let Some(spec) = table::find(name) {
            self.values.insert(spec.name, (value, origin));
        } else if let Some(reason) = ignored::reason(name) {
            self.notices.push(format!("option '{name}' ({origin}) does nothing here: {reason}"));
        } else if let Some(reason) = ignored::refusal(name) {
            self.problems.add(OptionError::NotBuilt { name: name.to_owned(), origin, reason });
        } else {
            self.problems.add(OptionError::Unknown { name: name.to_owned(), origin });
        }
    }
}

/// The option that an environment variable gives a value, if it does.
pub(crate) fn option_of(variable: &str) -> Option<String> {
    variable.strip_prefix(ENVIRONMENT_PREFIX).map(|name| name.to_lowercase().replace('_', "."))
}

/// Whether the value of this option is never shown.
pub(crate) fn is_secret(name: &str) -> bool {
    table::find(name).is_some_and(|spec| spec.kind == Kind::Secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(assignments: &[&str]) -> Given {
        let mut given = Given::default();
        assignments.iter().for_each(|assignment| given.set(assignment));
        given
    }

    #[test]
    fn an_unknown_name_is_an_error_with_the_nearest_name() {
        assert_eq!(
            set(&["num.partition=3"]).problems().to_string(),
            "unknown option 'num.partition' (--set); did you mean 'num.partitions'?"
        );
    }

    #[test]
    fn a_name_that_resembles_nothing_points_to_the_list() {
        let error = set(&["qwertyuiop=3"]).problems().to_string();
        assert!(error.ends_with("`aquifer options` lists all of them"), "{error}");
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_and_each_once() {
        let given = set(&["num.partition=3", "num.partition=3", "node.id", "node.id=1"]);
        assert_eq!(
            given.problems().to_string(),
            "2 things are wrong with the options:\n  \
             - unknown option 'num.partition' (--set); did you mean 'num.partitions'?\n  \
             - --set takes name=value, not 'node.id'"
        );
        assert_eq!(given.get("node.id").map(|(value, _)| value), Some("1"));
    }

    #[test]
    fn a_kafka_option_without_a_meaning_is_accepted_with_its_reason() {
        let given = set(&["log.dirs=/data"]);
        assert!(given.problems().is_empty());
        assert!(given.notices()[0].starts_with("option 'log.dirs' (--set) does nothing here: "));
    }

    #[test]
    fn a_kafka_option_whose_loss_does_harm_is_refused_with_the_consequence() {
        let error = set(&["authorizer.class.name=x"]).problems().to_string();
        assert!(
            error.starts_with("option 'authorizer.class.name' (--set) cannot be honoured: ACLs"),
            "{error}"
        );
    }

    #[test]
    fn the_environment_uses_upper_case_and_underscores() {
        let mut given = Given::default();
        let variables = [("AQUIFER_CONFIG_NUM_PARTITIONS", "7"), ("HOME", "/root")];
        given.environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        assert!(given.problems().is_empty());
        assert_eq!(given.get("num.partitions").map(|(value, _)| value), Some("7"));
    }

    #[test]
    fn a_properties_file_is_read_as_java_reads_it() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), "# note\nnum.partitions : 3\nnum.partitions=4\nlog.dirs=a,\\\n  b\n")
            .expect("written");
        let mut given = Given::default();
        given.file(file.path()).expect("well-formed");
        assert_eq!(given.get("num.partitions").map(|(value, _)| value), Some("4"));
        assert_eq!(given.notices().len(), 1);
    }
}
