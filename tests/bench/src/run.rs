use std::env;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use aquifer_runtime::Clock;
use tokio::runtime::Runtime;

use crate::BenchError;
use crate::broker::{System, binary_version};
use crate::layout::Layout;
use crate::load;
use crate::machine::{Machine, first_line};
use crate::measure::measure;
use crate::outcome::{Conditions, Outcome};
use crate::report::line;
use crate::scenario::{Scenario, Work};
use crate::station::{Settings, Station, settle};

/// Options whose value is a place on this machine.
const LOCAL: [&str; 2] = ["--dir", "--json"];

/// Measures the scenarios layout by layout. `systems`: those that were asked for; else those that each layout is compared
/// with. `say` gets a line for each thing that happens.
pub(crate) fn run(
    scenarios: &[&Scenario],
    systems: &[System],
    settings: &Settings,
    say: &dyn Fn(&str),
) -> Result<Outcome, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = Rc::new(runtime.map_err(BenchError::io("start a runtime"))?);
    let mut planned = Vec::new();
    for layout in Layout::ALL {
        let scenarios: Vec<&Scenario> =
            scenarios.iter().copied().filter(|scenario| scenario.layout == layout).collect();
        if let Some(first) = scenarios.first() {
            planned.push((layout, compared(layout, systems, first.name)?, scenarios));
        }
    }
    let all: Vec<System> = planned.iter().flat_map(|(_, systems, _)| systems.clone()).collect();
    let events = scenarios.iter().any(|scenario| matches!(scenario.work, Work::Interruption(_)));
    let conditions = conditions(&all, events, settings)?;
    let mut outcome = Outcome { conditions, rows: Vec::new(), failures: Vec::new() };
    for (layout, systems, scenarios) in planned {
        let directory = settings.directory.join(layout.name());
        let stations = start(layout, &systems, &runtime, &directory, settings, &mut outcome, say)?;
        take_turns(stations, &scenarios, settings, &mut outcome, say)?;
        fs::remove_dir_all(&directory).map_err(BenchError::io(format!("remove {}", directory.display())))?;
    }
    Ok(outcome)
}

/// The systems that a layout's scenarios are measured on.
fn compared(layout: Layout, asked: &[System], scenario: &str) -> Result<Vec<System>, BenchError> {
    let among = if asked.is_empty() { layout.compared() } else { asked };
    let suited: Vec<System> = among.iter().copied().filter(|system| layout.suits(*system)).collect();
    if suited.is_empty() {
        let suited: Vec<_> = System::ALL.into_iter().filter(|system| layout.suits(*system)).collect();
        let names = suited.into_iter().map(System::name).collect::<Vec<_>>().join(", ");
        return Err(BenchError::Unknown(format!("{scenario} is measured on other systems: {names}")));
    }
    Ok(suited)
}

/// Starts the systems and warms them.
fn start(
    layout: Layout,
    systems: &[System],
    runtime: &Rc<Runtime>,
    directory: &Path,
    settings: &Settings,
    outcome: &mut Outcome,
    say: &dyn Fn(&str),
) -> Result<Vec<Station>, BenchError> {
    let mut stations = Vec::new();
    for system in systems {
        let nodes = match layout.roles().len() {
            1 => String::new(),
            nodes => format!(" of {nodes} nodes"),
        };
        say(&format!("starting {system}{nodes}, and {:?} of full load to warm it", settings.warm_up));
        let mut station =
            Station::start(*system, layout, runtime, &directory.join(system.name()), &settings.sizes)?;
        station.warm_up(settings.warm_up)?;
        let configuration = neutral(&station.broker.configuration()?, directory);
        outcome.conditions.systems.push((*system, configuration));
        stations.push(station);
    }
    Ok(stations)
}

fn take_turns(
    mut stations: Vec<Station>,
    scenarios: &[&Scenario],
    settings: &Settings,
    outcome: &mut Outcome,
    say: &dyn Fn(&str),
) -> Result<(), BenchError> {
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
                for note in notes {
                    say(&format!("{what}: {note}"));
                    outcome.note(note);
                }
            }
        }
    }
    if restless > 0 {
        let limit = settings.calm_limit;
        outcome.note(format!("{restless} measurements began while a system was still busy after {limit:?}"));
    }
    Ok(())
}

/// What is known before the systems are started; their configurations come with them.
fn conditions(systems: &[System], events: bool, settings: &Settings) -> Result<Conditions, BenchError> {
    let date = SystemTime::UNIX_EPOCH + Duration::from_millis(Clock::system().wall_ms().unsigned_abs());
    let mut versions = vec![("librdkafka".to_owned(), load::library_version())];
    if systems.iter().any(|system| !system.is_kafka()) {
        versions.insert(0, ("aquifer".to_owned(), binary_version()?));
    }
    if systems.iter().any(|system| system.is_kafka()) {
        versions.push(("Apache Kafka".to_owned(), aquifer_services::Kafka::VERSION.to_owned()));
        versions.push(("java".to_owned(), first_line("java", &["-version"])));
    }
    Ok(Conditions {
        date: humantime::format_rfc3339_seconds(date).to_string(),
        command: format!("tests/bench/run {}", public_arguments(env::args().skip(1))),
        machine: Machine::here(&settings.directory),
        versions,
        systems: Vec::new(),
        client: load::shown(),
        repeats: settings.repeats,
        seconds: settings.seconds,
        warm_up_seconds: settings.warm_up.as_secs_f64(),
        rounds: if events { settings.rounds } else { 0 },
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
    fn a_layout_is_measured_on_what_can_be_made_of_it() {
        let asked = [System::Aquifer, System::KafkaRf3, System::AquiferMirror];
        assert_eq!(compared(Layout::One, &asked, "x").expect("one suits"), [System::Aquifer]);
        assert_eq!(compared(Layout::Five, &asked, "x").expect("two suit"), asked[1..]);
        assert_eq!(compared(Layout::Three, &[], "x").expect("defaults"), Layout::Three.compared());
        let refused = compared(Layout::Three, &asked[..1], "cluster-produce-1").expect_err("none suits");
        assert!(refused.to_string().contains("aquifer-mirror"), "{refused}");
    }

    #[test]
    fn a_page_names_no_place_of_this_machine() {
        let given = ["run", "produce-1", "--dir", "/x", "--secs", "5", "--json", "y"];
        assert_eq!(public_arguments(given.map(str::to_owned).into_iter()), "run produce-1 --secs 5");
    }
}
