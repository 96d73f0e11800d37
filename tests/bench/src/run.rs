use std::env;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use aquifer_runtime::Clock;

use crate::BenchError;
use crate::broker::{System, binary_version};
use crate::load;
use crate::machine::{Machine, first_line};
use crate::measure::measure;
use crate::outcome::{Conditions, Outcome};
use crate::report::line;
use crate::scenario::Scenario;
use crate::station::{Settings, Station, settle};

/// Options whose value is a place on this machine.
const LOCAL: [&str; 2] = ["--dir", "--json"];

/// Starts the systems, warms them, and lets them take turns. `say` gets a line for each thing that happens.
pub(crate) fn run(
    scenarios: &[&Scenario],
    systems: &[System],
    settings: &Settings,
    say: &dyn Fn(&str),
) -> Result<Outcome, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = Rc::new(runtime.map_err(BenchError::io("start a runtime"))?);
    let mut stations = Vec::new();
    for system in systems {
        say(&format!("starting {system}, and {:?} of full load to warm it", settings.warm_up));
        let directory = settings.directory.join(system.name());
        let mut station = Station::start(*system, &runtime, &directory, &settings.heap)?;
        station.warm_up(settings.warm_up)?;
        stations.push(station);
    }
    let conditions = conditions(&stations, settings)?;
    let mut outcome = Outcome { conditions, rows: Vec::new(), failures: Vec::new() };
    let mut restless = 0;
    for repeat in 1..=settings.repeats {
        for scenario in scenarios {
            for turn in 0..stations.len() {
                // Who begins changes, so that none always follows the same neighbour.
                let at = (turn + repeat - 1) % stations.len();
                if !settle(&stations, settings.calm_limit)? {
                    restless += 1;
                }
                let station = &mut stations[at];
                let what = format!("[{repeat}/{}] {} {}", settings.repeats, scenario.name, station.system);
                let mut notes = Vec::new();
                match measure(station, scenario, settings, &mut notes) {
                    Ok(figures) => {
                        say(&format!("{what}: {}", line(&figures)));
                        outcome.add(scenario.name, station.system, figures);
                    }
                    Err(error) => {
                        say(&format!("{what}: FAILED: {error}"));
                        outcome.failures.push(format!("{what}: {error}"));
                        station.revive()?;
                    }
                }
                notes.into_iter().for_each(|note| outcome.note(note));
            }
        }
    }
    if restless > 0 {
        let limit = settings.calm_limit;
        outcome.note(format!("{restless} measurements began while a system was still busy after {limit:?}"));
    }
    Ok(outcome)
}

fn conditions(stations: &[Station], settings: &Settings) -> Result<Conditions, BenchError> {
    let mut systems = Vec::new();
    for station in stations {
        systems.push((station.system, neutral(&station.broker.configuration()?, &settings.directory)));
    }
    let date = SystemTime::UNIX_EPOCH + Duration::from_millis(Clock::system().wall_ms().unsigned_abs());
    let mut versions = vec![("librdkafka".to_owned(), load::library_version())];
    if systems.iter().any(|(system, _)| !system.is_kafka()) {
        versions.insert(0, ("aquifer".to_owned(), binary_version()?));
    }
    if systems.iter().any(|(system, _)| system.is_kafka()) {
        versions.push(("Apache Kafka".to_owned(), aquifer_services::Kafka::VERSION.to_owned()));
        versions.push(("java".to_owned(), first_line("java", &["-version"])));
    }
    Ok(Conditions {
        date: humantime::format_rfc3339_seconds(date).to_string(),
        command: format!("tests/bench/run {}", public_arguments(env::args().skip(1))),
        machine: Machine::here(&settings.directory),
        versions,
        systems,
        client: load::shown(),
        repeats: settings.repeats,
        seconds: settings.seconds,
        warm_up_seconds: settings.warm_up.as_secs_f64(),
        notes: Vec::new(),
    })
}

/// The arguments without those that only say where this machine keeps its files.
fn public_arguments(arguments: impl Iterator<Item = String>) -> String {
    let mut shown = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        if LOCAL.contains(&argument.as_str()) {
            arguments.next();
        } else {
            shown.push(argument);
        }
    }
    shown.join(" ")
}

/// A configuration without this machine's directories.
fn neutral(text: &str, directory: &Path) -> String {
    text.replace(&directory.display().to_string(), "DIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_no_place_of_this_machine() {
        let given = ["run", "produce-1", "--dir", "/x", "--secs", "5", "--json", "y"];
        assert_eq!(public_arguments(given.map(str::to_owned).into_iter()), "run produce-1 --secs 5");
    }
}
