//! The answers to the four-letter words, byte for byte in the reference's format: scripts cut them with grep.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use ringkeeper_engine::id::SessionId;

use super::{
    mntr,
    text::{Date, Decimal, Peer, version},
    view::{Bucket, Connection, Mode, NodeView},
    word::Word,
};

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// The answer to one word. Empty where the reference answers nothing.
pub fn render(word: Word, view: &NodeView<'_>) -> Vec<u8> {
    let mut out = String::new();
    if word.needs_serving() && !view.serving {
        out.push_str(NOT_SERVING);
        if word != Word::Hash {
            out.push('\n');
        }
        return out.into_bytes();
    }
    write_word(word, view, &mut out).expect("writing to a String cannot fail");
    out.into_bytes()
}

fn write_word(word: Word, view: &NodeView<'_>, out: &mut String) -> fmt::Result {
    match word {
        Word::Ruok => out.write_str("imok"),
        Word::Srvr => server(view, false, out),
        Word::Stat => server(view, true, out),
        Word::Conf => settings(view, out),
        Word::Cons => connections(view, out),
        Word::Crst => writeln!(out, "Connection stats reset."),
        Word::Srst => writeln!(out, "Server stats reset."),
        Word::Dirs => {
            let [data, log] = view.directory_sizes;
            writeln!(out, "datadir_size: {data}\nlogdir_size: {log}")
        }
        Word::Dump => dump(view, out),
        Word::Envi => environment(view, out),
        Word::Gtmk | Word::Stmk => write!(out, "{}", view.trace_mask),
        Word::Hash => view.digests.iter().try_for_each(|(zxid, digest)| {
            // The reference keeps the digest in a signed long.
            writeln!(out, "{:x}: {}", zxid.raw(), *digest as i64)
        }),
        Word::Isro => out.write_str(match (view.serving, view.mode) {
            (false, _) => "null",
            (true, Mode::ReadOnly) => "ro",
            (true, _) => "rw",
        }),
        Word::Mntr => mntr::write(view, out),
        Word::Wchs => {
            let watches = view.data_watches;
            writeln!(out, "{} connections watching {} paths", watches.connections, watches.paths)?;
            writeln!(out, "Total watches:{}", watches.pairs)
        }
        Word::Wchc => paths_by_session(view, out),
        Word::Wchp => sessions_by_path(view, out),
        Word::TelnetClose => Ok(()),
    }
}

fn server(view: &NodeView<'_>, with_clients: bool, out: &mut String) -> fmt::Result {
    writeln!(out, "Zookeeper version: {}", version())?;
    if view.mode == Mode::ReadOnly {
        writeln!(out, "READ-ONLY mode; serving only read-only clients")?;
    }
    if with_clients {
        writeln!(out, "Clients:")?;
        for connection in &view.connections {
            brief(connection, out)?;
            writeln!(out, ")")?;
        }
        writeln!(out)?;
    }
    let latency = view.metrics.request_latency();
    let average = Decimal(latency.average_e4());
    writeln!(out, "Latency min/avg/max: {}/{average}/{}", latency.min(), latency.max())?;
    writeln!(out, "Received: {}", view.packets_received)?;
    writeln!(out, "Sent: {}", view.packets_sent)?;
    writeln!(out, "Connections: {}", view.connection_count)?;
    writeln!(out, "Outstanding: {}", view.outstanding)?;
    writeln!(out, "Zxid: {}", view.zxid)?;
    writeln!(out, "Mode: {}", view.mode.name())?;
    writeln!(out, "Node count: {}", view.node_count)?;
    let Some(leading) = view.ensemble.as_ref().and_then(|e| e.leading.as_ref()) else { return Ok(()) };
    let [last, min, max] = leading.sizes();
    writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}")
}

/// A connection without the closing parenthesis, which `cons` puts behind the session.
fn brief(connection: &Connection, out: &mut String) -> fmt::Result {
    let Connection { peer, interest, queued, received, sent, .. } = connection;
    write!(out, " {}[{interest:x}](queued={queued},recved={received},sent={sent}", Peer(*peer))
}

fn connections(view: &NodeView<'_>, out: &mut String) -> fmt::Result {
    for connection in &view.connections {
        brief(connection, out)?;
        if let Some(session) = &connection.session {
            write!(
                out,
                ",sid={},lop={},est={},to={}",
                session.id, session.last_operation, session.established_ms, session.timeout_ms
            )?;
            if session.last_cxid >= 0 {
                write!(out, ",lcxid={:#x}", session.last_cxid)?;
            }
            write!(
                out,
                ",lzxid={},lresp={},llat={},minlat={},avglat={},maxlat={}",
                session.last_zxid,
                session.last_response_ms,
                session.last_latency,
                session.min_latency,
                session.average_latency,
                session.max_latency
            )?;
        }
        writeln!(out, ")")?;
    }
    writeln!(out)
}

fn settings(view: &NodeView<'_>, out: &mut String) -> fmt::Result {
    let s = &view.settings;
    let [data_size, log_size] = view.directory_sizes;
    writeln!(out, "clientPort={}", s.client_port)?;
    writeln!(out, "secureClientPort=-1")?;
    writeln!(out, "dataDir={}", s.data_dir.display())?;
    writeln!(out, "dataDirSize={data_size}")?;
    writeln!(out, "dataLogDir={}", s.data_log_dir.display())?;
    writeln!(out, "dataLogSize={log_size}")?;
    writeln!(out, "tickTime={}", s.tick_ms)?;
    writeln!(out, "maxClientCnxns={}", s.max_connections_per_address)?;
    writeln!(out, "minSessionTimeout={}", s.min_session_timeout_ms)?;
    writeln!(out, "maxSessionTimeout={}", s.max_session_timeout_ms)?;
    writeln!(out, "clientPortListenBacklog={}", s.listen_backlog.map_or(-1, i64::from))?;
    let Some(ensemble) = &s.ensemble else { return writeln!(out, "serverId=0") };
    writeln!(out, "serverId={}", ensemble.server_id)?;
    writeln!(out, "initLimit={}\nsyncLimit={}", ensemble.init_limit, ensemble.sync_limit)?;
    let (election, quorum) = ensemble.ports;
    writeln!(out, "electionAlg=3\nelectionPort={election}\nquorumPort={quorum}")?;
    writeln!(out, "peerType={}", u8::from(ensemble.observer))?;
    write!(out, "membership: \n{}", ensemble.members)
}

fn environment(view: &NodeView<'_>, out: &mut String) -> fmt::Result {
    let environment = &view.environment;
    let [user, home, dir] = &environment.user;
    let [free, max, total] = environment.memory.map(|bytes| bytes >> 20);
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    };
    writeln!(out, "Environment:")?;
    writeln!(out, "zookeeper.version={}", version())?;
    writeln!(out, "host.name={}", environment.host_name)?;
    for java in ["version", "vendor", "home", "class.path", "library.path", "io.tmpdir", "compiler"] {
        writeln!(out, "java.{java}=")?;
    }
    writeln!(out, "os.name=Linux\nos.arch={arch}\nos.version={}", environment.kernel)?;
    writeln!(out, "user.name={user}\nuser.home={home}\nuser.dir={dir}")?;
    writeln!(out, "os.memory.free={free}MB\nos.memory.max={max}MB\nos.memory.total={total}MB")
}

fn dump(view: &NodeView<'_>, out: &mut String) -> fmt::Result {
    writeln!(out, "SessionTracker dump:")?;
    buckets("Session", &view.session_buckets, out, |id, out| writeln!(out, "\t{id}"))?;
    writeln!(out, "ephemeral nodes dump:")?;
    writeln!(out, "Sessions with Ephemerals ({}):", view.ephemeral_paths.len())?;
    for (session, paths) in &view.ephemeral_paths {
        writeln!(out, "{session}:")?;
        for path in paths {
            writeln!(out, "\t{path}")?;
        }
    }
    writeln!(out, "Connections dump:")?;
    buckets("Connections", &view.connection_buckets, out, |(peer, session), out| {
        writeln!(out, "\tip: {} sessionId: {session}", Peer(*peer))
    })
}

fn buckets<T>(
    of: &str,
    buckets: &[Bucket<T>],
    out: &mut String,
    line: impl Fn(&T, &mut String) -> fmt::Result,
) -> fmt::Result {
    let members: usize = buckets.iter().map(|bucket| bucket.members.len()).sum();
    writeln!(out, "{of} Sets ({})/({members}):", buckets.len())?;
    for bucket in buckets {
        let date = Date { wall_ms: bucket.expires_ms };
        writeln!(out, "{} expire at {date}:", bucket.members.len())?;
        bucket.members.iter().try_for_each(|member| line(member, out))?;
    }
    Ok(())
}

fn paths_by_session(view: &NodeView<'_>, out: &mut String) -> fmt::Result {
    for (session, paths) in &view.watched_paths {
        writeln!(out, "{session}")?;
        for path in paths {
            writeln!(out, "\t{path}")?;
        }
    }
    writeln!(out)
}

fn sessions_by_path(view: &NodeView<'_>, out: &mut String) -> fmt::Result {
    let mut by_path: BTreeMap<&str, Vec<SessionId>> = BTreeMap::new();
    for (session, paths) in &view.watched_paths {
        for path in paths {
            by_path.entry(path).or_default().push(*session);
        }
    }
    for (path, sessions) in by_path {
        writeln!(out, "{path}")?;
        for session in sessions {
            writeln!(out, "\t{session}")?;
        }
    }
    writeln!(out)
}
