//! Which members there are, where their files lie and which ports they have.
//!
//! A directory that holds an ensemble is taken as it is, so that a second start goes on with its data, and so that its
//! files can be edited. A new one is written with the first member's `zoo.cfg` last: only with it an ensemble is
//! complete. Nothing that exists is ever overwritten.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use ringkeeper_engine::id::Sid;

use super::{EnsembleError, ports};
use crate::config::{self, Ensemble, Role};

/// Voters of a new ensemble, unless told otherwise.
const VOTERS: u8 = 3;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the members have their directories.
    pub dir: PathBuf,
    /// Members with a vote; `None` = as many as there are, or three.
    pub voters: Option<u8>,
    /// Members without one; `None` = as many as there are, or none.
    pub observers: Option<u8>,
    /// First port of a new ensemble; `None` = any free ones.
    pub base_port: Option<u16>,
}

/// An ensemble whose files are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order of their ids.
    pub nodes: Vec<Node>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number, which is also the name of its directory.
    pub id: Sid,
    /// Votes, or only listens.
    pub role: Role,
    /// Its directory.
    pub dir: PathBuf,
    /// Where clients connect.
    pub client: SocketAddr,
    /// Where followers connect while it leads.
    pub quorum_port: u16,
    /// Where votes are exchanged.
    pub election_port: u16,
}

impl Node {
    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("zoo.cfg")
    }

    /// What it writes to its standard output and error.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl Plan {
    /// Takes the ensemble that is there, or makes one.
    ///
    /// # Errors
    /// When what is there is not what was asked for or cannot be used, and when files or ports cannot be had.
    pub fn open(options: &Options) -> Result<Plan, EnsembleError> {
        let dir = std::path::absolute(&options.dir).map_err(EnsembleError::file("finding", &options.dir))?;
        let first = dir.join("1").join("zoo.cfg");
        if first.try_exists().map_err(EnsembleError::file("looking for", &first))? {
            Plan::read(&dir, options)
        } else {
            Plan::make(&dir, &first, options)
        }
    }

    /// From the files of a start before.
    fn read(dir: &Path, options: &Options) -> Result<Plan, EnsembleError> {
        let (_, first) = load(dir, Sid(1))?;
        let count = |role| first.members.iter().filter(|member| member.role == role).count();
        let (voters, observers) = (count(Role::Participant), count(Role::Observer));
        let other = |asked: Option<u8>, there: usize| asked.is_some_and(|asked| usize::from(asked) != there);
        if other(options.voters, voters) || other(options.observers, observers) {
            return Err(EnsembleError::OtherSize { dir: dir.to_owned(), voters, observers });
        }
        if options.base_port.is_some() {
            tracing::warn!(
                "--base-port has no effect: the ensemble in {} has its ports already",
                dir.display()
            );
        }
        let mut nodes = Vec::new();
        for member in &first.members {
            let (client, ensemble) = load(dir, member.id)?;
            if ensemble.config_text != first.config_text {
                let path = home(dir, member.id).join("zoo.cfg");
                let problem = "its server lines are not those of server.1".to_owned();
                return Err(EnsembleError::Foreign { path, problem });
            }
            nodes.push(Node {
                id: member.id,
                role: member.role,
                dir: home(dir, member.id),
                client,
                quorum_port: member.quorum_port,
                election_port: member.election_port,
            });
        }
        Ok(Plan { nodes })
    }

    fn make(dir: &Path, first: &Path, options: &Options) -> Result<Plan, EnsembleError> {
        let voters = usize::from(options.voters.unwrap_or(VOTERS));
        let count = voters + usize::from(options.observers.unwrap_or(0));
        let ports = match options.base_port {
            Some(base) => ports::from(base, 3 * count)?,
            None => ports::free(3 * count).map_err(EnsembleError::system("looking for free ports"))?,
        };
        // Client ports beside each other: those are the ones that are typed.
        let mut nodes = Vec::new();
        let by_use = ports.chunks_exact(count).collect::<Vec<_>>();
        let [clients, quorum, election] = by_use[..] else { unreachable!("three ports each") };
        for (index, ((&client, &quorum_port), &election_port)) in
            clients.iter().zip(quorum).zip(election).enumerate()
        {
            let id = Sid(index as i64 + 1);
            let role = if index < voters { Role::Participant } else { Role::Observer };
            let client = SocketAddr::from((Ipv4Addr::LOCALHOST, client));
            nodes.push(Node { id, role, dir: home(dir, id), client, quorum_port, election_port });
        }
        let plan = Plan { nodes };
        for node in &plan.nodes {
            if fs::read_dir(&node.dir).is_ok_and(|mut files| files.next().is_some()) {
                return Err(EnsembleError::Occupied { path: node.dir.clone(), expected: first.to_owned() });
            }
        }
        for node in plan.nodes.iter().rev() {
            let data = node.data();
            fs::create_dir_all(&data).map_err(EnsembleError::file("making", &data))?;
            write(&data.join("myid"), &format!("{}\n", node.id))?;
            write(&node.config(), &plan.zoo_cfg(node))?;
        }
        Ok(plan)
    }

    /// The configuration of one member.
    fn zoo_cfg(&self, node: &Node) -> String {
        let mut text = format!(
            "# server.{} of an ensemble for trying things out, made by `ringkeeper ensemble`.\n\
             # It may be edited: the next start takes it as it is.\n\
             dataDir={}\n\
             tickTime=2000\n\
             initLimit=10\n\
             syncLimit=5\n\
             # Also an ensemble of one is an ensemble.\n\
             standaloneEnabled=false\n\
             4lw.commands.whitelist=*\n\
             admin.enableServer=false\n",
            node.id,
            escaped(&node.data().to_string_lossy()),
        );
        for Node { id, role, client, quorum_port, election_port, .. } in &self.nodes {
            let (ip, role) = (client.ip(), role.name());
            text.push_str(&format!("server.{id}={ip}:{quorum_port}:{election_port}:{role};{client}\n"));
        }
        text
    }
}

fn home(dir: &Path, id: Sid) -> PathBuf {
    dir.join(id.to_string())
}

/// What a member's file says: where its clients connect from this machine, and the ensemble.
fn load(dir: &Path, id: Sid) -> Result<(SocketAddr, Ensemble), EnsembleError> {
    let path = home(dir, id).join("zoo.cfg");
    let config = config::load(Some(&path))?.config;
    let foreign = |problem: String| EnsembleError::Foreign { path: path.clone(), problem };
    let ensemble = config.ensemble.ok_or_else(|| foreign("it is not of a member of an ensemble".into()))?;
    if ensemble.me != id {
        return Err(foreign(format!("it is of server.{}", ensemble.me)));
    }
    if config.listen.port == 0 {
        return Err(foreign("it leaves the client port open, so that nobody could be told of it".into()));
    }
    let ip = config.listen.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok((SocketAddr::new(ip, config.listen.port), ensemble))
}

/// Writes a file that must not be there yet.
fn write(path: &Path, text: &str) -> Result<(), EnsembleError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(EnsembleError::file("writing", path))
}

/// A path as the value of a properties file, which is Latin-1 with escapes.
fn escaped(path: &str) -> String {
    let mut text = String::new();
    for unit in path.encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'\\') => text.push_str("\\\\"),
            Ok(byte) if byte.is_ascii_graphic() || byte == b' ' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
    text
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
