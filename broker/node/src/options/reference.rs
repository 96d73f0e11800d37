use std::fmt::Write;

use super::ignored::IGNORED;
use super::table::{OPTIONS, OptionSpec, Source};

/// How `aquifer options` prints the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The reference page, `docs/configuration.md`.
    Markdown,
    /// A sample file with every option at its default.
    Properties,
}

impl Format {
    /// All options in this format.
    pub(crate) fn render(self) -> String {
        let mut text = String::new();
        match self {
            Format::Markdown => markdown(&mut text),
            Format::Properties => properties(&mut text),
        }
        .expect("writing to a string does not fail");
        text
    }
}

fn markdown(text: &mut String) -> std::fmt::Result {
    text.push_str(
        "# Configuration reference\n\n\
         Written by `aquifer options --format markdown` from the one definition of the options.\n\n\
         Options stand in a Java properties file (`aquifer serve --config FILE`). Each can also be given as\n\
         `--set name=value`, or in the environment as `AQUIFER_CONFIG_` and the name in upper case with `_` for\n\
         `.`: `AQUIFER_CONFIG_NUM_PARTITIONS=3`. The command line goes before the environment, the environment\n\
         before the file. Bytes may carry a unit: `KiB`, `MiB`, `GiB`, `TiB`. An unknown name is an error.\n\
         Options marked K are Kafka's own, with Kafka's meaning.\n",
    );
    let mut section = "";
    for spec in OPTIONS {
        if spec.section != section {
            section = spec.section;
            write!(
                text,
                "\n## {section}\n\n| option | | type | default | meaning |\n|---|---|---|---|---|\n"
            )?;
        }
        let mark = if spec.source == Source::Kafka { "K" } else { "" };
        let default = spec.default.map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
        writeln!(text, "| `{}` | {mark} | {} | {default} | {} |", spec.name, spec.kind, spec.doc)?;
    }
    text.push_str(
        "\n## Kafka's options that do nothing here\n\n\
         They are accepted with one line at start that says why. A `*` stands for any ending.\n\n\
         | option | why |\n|---|---|\n",
    );
    for (name, reason) in IGNORED {
        writeln!(text, "| `{name}` | {reason} |")?;
    }
    Ok(())
}

fn properties(text: &mut String) -> std::fmt::Result {
    text.push_str("# Every option at its default. Written by `aquifer options --format properties`.\n");
    let mut section = "";
    for OptionSpec { name, kind, default, section: of, doc, .. } in OPTIONS {
        if *of != section {
            section = of;
            write!(text, "\n### {section}\n")?;
        }
        write!(text, "\n# {doc}\n# {kind}\n#{name}={}\n", default.unwrap_or(""))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_page_is_what_the_definition_says() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let stands = std::fs::read_to_string(page).expect("docs/configuration.md exists");
        assert!(
            stands == Format::Markdown.render(),
            "docs/configuration.md is stale: aquifer options --format markdown > docs/configuration.md"
        );
    }
}
