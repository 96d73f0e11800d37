use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::ignored;
use super::table::{self, OPTIONS, OptionSpec};

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

/// What is wrong with the options, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionError {
    #[error("cannot read the configuration file {path}: {source}")]
    File { path: String, source: std::io::Error },
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

/// The options as the operator gave them: names known, values not yet looked at.
#[derive(Debug, Default)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, (String, Origin)>,
    /// Defaults that depend on the machine.
    fitted: BTreeMap<&'static str, String>,
    notices: Vec<String>,
}

impl Given {
    /// Adds a Java properties file. Of a name given twice the later counts, as in Java.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), OptionError> {
        let shown = path.display().to_string();
        let bytes = fs::read(path).map_err(|source| OptionError::File { path: shown.clone(), source })?;
        let mut lines = Vec::new();
        java_properties::PropertiesIter::new(&*bytes)
            .read_into(|name, value| lines.push((name, value)))
            .map_err(|error| OptionError::Syntax {
                path: shown,
                line: error.line_number().unwrap_or(0),
                reason: error.to_string(),
            })?;
        lines
            .into_iter()
            .try_for_each(|(name, value)| self.put(&name, value, Origin::File(path.to_path_buf())))
    }

    /// Adds the options among environment variables.
    pub(crate) fn environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), OptionError> {
        for (variable, value) in variables {
            if let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) {
                let name = name.to_lowercase().replace('_', ".");
                self.put(&name, value, Origin::Environment(variable.clone()))?;
            }
        }
        Ok(())
    }

    /// Adds what `--set` gave.
    pub(crate) fn set(&mut self, assignment: &str) -> Result<(), OptionError> {
        let (name, value) =
            assignment.split_once('=').ok_or_else(|| OptionError::Set(assignment.to_owned()))?;
        self.put(name.trim(), value.to_owned(), Origin::CommandLine)
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

    /// Adds a line for the operator.
    pub(super) fn notice(&mut self, line: String) {
        self.notices.push(line);
    }

    /// Lines for the operator: of each accepted option that does nothing here, why; and what was fitted to the machine.
    pub(crate) fn notices(&self) -> &[String] {
        &self.notices
    }

    fn put(&mut self, name: &str, value: String, origin: Origin) -> Result<(), OptionError> {
        if let Some(spec) = table::find(name) {
            self.values.insert(spec.name, (value, origin));
        } else if let Some(reason) = ignored::reason(name) {
            self.notices.push(format!("option '{name}' ({origin}) does nothing here: {reason}"));
        } else if let Some(reason) = ignored::refusal(name) {
            return Err(OptionError::NotBuilt { name: name.to_owned(), origin, reason });
        } else {
            return Err(OptionError::Unknown { name: name.to_owned(), origin });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_an_error_with_the_nearest_name() {
        let error = Given::default().set("num.partition=3").expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "unknown option 'num.partition' (--set); did you mean 'num.partitions'?"
        );
    }

    #[test]
    fn a_name_that_resembles_nothing_points_to_the_list() {
        let error = Given::default().set("qwertyuiop=3").expect_err("unknown");
        assert!(error.to_string().ends_with("`aquifer options` lists all of them"), "{error}");
    }

    #[test]
    fn a_kafka_option_without_a_meaning_is_accepted_with_its_reason() {
        let mut given = Given::default();
        given.set("log.dirs=/data").expect("accepted");
        assert!(given.notices()[0].starts_with("option 'log.dirs' (--set) does nothing here: "));
    }

    #[test]
    fn a_kafka_option_whose_loss_does_harm_is_refused_with_the_consequence() {
        let error = Given::default().set("authorizer.class.name=x").expect_err("refused").to_string();
        assert!(
            error.starts_with("option 'authorizer.class.name' (--set) cannot be honoured: ACLs"),
            "{error}"
        );
    }

    #[test]
    fn the_environment_uses_upper_case_and_underscores() {
        let mut given = Given::default();
        let variables = [("AQUIFER_CONFIG_NUM_PARTITIONS", "7"), ("HOME", "/root")];
        given
            .environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
            .expect("known");
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
