use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::many_free_ports;

/// Internal topics of a cluster keep Kafka's own defaults: three copies.
const ONE_COPY: &str = "offsets.topic.replication.factor=1\n\
                        transaction.state.log.replication.factor=1\n\
                        transaction.state.log.min.isr=1\n\
                        share.coordinator.state.topic.replication.factor=1\n\
                        share.coordinator.state.topic.min.isr=1\n";
const LOGGING: &str = "<Configuration status=\"WARN\">\n\
     <Appenders><Console name=\"C\" target=\"SYSTEM_OUT\"><PatternLayout pattern=\"[%d] %p %m (%c)%n\"/></Console>\
     </Appenders>\n\
     <Loggers><Root level=\"INFO\"><AppenderRef ref=\"C\"/></Root></Loggers>\n\
     </Configuration>\n";

/// Where one node stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    id: usize,
    roles: String,
    pub(super) port: u16,
    pub(super) controller_port: u16,
    pub(super) directory: PathBuf,
}

/// A place below `directory` for each `process.roles`.
pub(super) fn places(directory: &Path, roles: &[&str]) -> Vec<Place> {
    let ports = many_free_ports(2 * roles.len());
    let each = roles.iter().zip(ports.chunks(2)).zip(1..);
    each.map(|((own, ports), id)| Place {
        id,
        roles: (*own).to_owned(),
        port: ports[0],
        controller_port: ports[1],
        directory: if roles.len() == 1 { directory.to_owned() } else { directory.join(format!("node-{id}")) },
    })
    .collect()
}

impl Place {
    pub(super) fn is_broker(&self) -> bool {
        self.roles.contains("broker")
    }

    fn is_controller(&self) -> bool {
        self.roles.contains("controller")
    }

    pub(super) fn properties(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Writes its configuration, as a member of `cluster`.
    pub(super) fn configure(&self, cluster: &[Self], own: &[(String, String)]) -> io::Result<()> {
        fs::create_dir_all(self.data())?;
        fs::write(self.properties(), self.text(cluster, own))?;
        fs::write(self.directory.join("log4j2.xml"), LOGGING)
    }

    fn text(&self, cluster: &[Self], own: &[(String, String)]) -> String {
        let clients = format!("PLAINTEXT://127.0.0.1:{}", self.port);
        let controllers = format!("CONTROLLER://127.0.0.1:{}", self.controller_port);
        let listeners = match (self.is_broker(), self.is_controller()) {
            (true, true) => format!("{clients},{controllers}"),
            (true, false) => clients.clone(),
            (false, _) => controllers,
        };
        let voters = cluster.iter().filter(|node| node.is_controller());
        let voters = voters.map(|node| format!("{}@127.0.0.1:{}", node.id, node.controller_port));
        let voters: Vec<String> = voters.collect();
        let mut text = format!(
            "process.roles={}\n\
             node.id={}\n\
             controller.quorum.voters={}\n\
             listeners={listeners}\n",
            self.roles,
            self.id,
            voters.join(",")
        );
        if self.is_broker() {
            text.push_str(&format!("advertised.listeners={clients}\n"));
        }
        text.push_str(&format!(
            "controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n",
            self.data().display()
        ));
        text.push_str(if cluster.len() == 1 { ONE_COPY } else { "" });
        text.push_str("group.initial.rebalance.delay.ms=0\n");
        for (name, value) in own {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_listens_for_what_it_is() {
        let places = places(Path::new("cluster"), &["controller", "broker", "broker,controller"]);
        let line = |node: usize, name: &str| {
            let text = places[node - 1].text(&places, &[]);
            let value =
                text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()));
            value.unwrap_or_default()
        };
        assert!(
            line(1, "listeners").starts_with("CONTROLLER://") && line(1, "advertised.listeners").is_empty()
        );
        assert_eq!(line(2, "listeners"), line(2, "advertised.listeners"));
        assert_eq!(line(3, "listeners").split(',').count(), 2);
        let voters = line(2, "controller.quorum.voters");
        let ids: Vec<_> = voters.split(',').filter_map(|voter| voter.split('@').next()).collect();
        assert_eq!(ids, ["1", "3"]);
        assert_eq!(line(3, "log.dirs"), "cluster/node-3/data");
        assert_eq!(line(3, "offsets.topic.replication.factor"), "");
    }
}
