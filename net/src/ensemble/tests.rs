//! A whole run, with shells and threads in the place of members.

use std::{fs, io::Read as _, net::TcpListener, os::unix::process::ExitStatusExt as _, path::Path, thread};

use signal_hook::consts::{SIGUSR1, SIGUSR2};

use super::*;

fn plan(dir: &Path) -> Plan {
    Plan::open(&Options { dir: dir.to_owned(), voters: None, observers: Some(1), base_port: None }).unwrap()
}

/// A plan whose members answer `srvr` like this, each from a thread that lives as long as the test process.
fn answering_plan(dir: &Path, modes: [&'static str; 4]) -> Plan {
    // Somebody else may take a port between the choice and the binding: then once more.
    for attempt in 0.. {
        let plan = plan(&dir.join(attempt.to_string()));
        let bound: io::Result<Vec<_>> =
            plan.nodes.iter().map(|node| TcpListener::bind(node.client)).collect();
        let Ok(listeners) = bound else { continue };
        for (listener, mode) in listeners.into_iter().zip(modes) {
            thread::spawn(move || answer(&listener, mode));
        }
        return plan;
    }
    unreachable!("the attempts do not end")
}

fn answer(listener: &TcpListener, mode: &str) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read_exact(&mut [0; 4]);
        let _ = write!(stream, "Zxid: 0x0\nMode: {mode}\nNode count: 5\n");
    }
}

fn shell(script: String) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]);
    command
}

/// Takes what is announced, and does something when it is complete.
struct Then<F: FnMut()>(Vec<u8>, F);

impl<F: FnMut()> Write for Then<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        (self.1)();
        Ok(())
    }
}

#[test]
fn ports_and_roles_are_told_and_a_signal_ends_all() {
    let dir = tempfile::tempdir().unwrap();
    let plan = answering_plan(dir.path(), ["follower", "leader", "follower", "observer"]);
    let mut signals = Signals::new([SIGCHLD, SIGUSR1]).unwrap();
    let mut out = Then(Vec::new(), || signal_hook::low_level::raise(SIGUSR1).unwrap());
    let member = |node: &Node| shell(format!("echo member {}; exec cat", node.id));
    run_with(&plan, &mut signals, &mut out, member).unwrap();
    let told = String::from_utf8(out.0).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 5, "{told}");
    let Node { client, quorum_port, election_port, .. } = &plan.nodes[1];
    assert_eq!(
        lines[1],
        format!(
            "server.2  leader      clients {client}, members {quorum_port} and {election_port}, log {}",
            plan.nodes[1].log().display()
        )
    );
    assert!(lines[3].starts_with("server.4  observer "), "{told}");
    assert!(lines[4].starts_with(&format!("connect to {},", plan.nodes[0].client)), "{told}");
}

#[test]
fn a_member_that_does_not_start_ends_all_and_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path());
    let mut signals = Signals::new([SIGCHLD]).unwrap();
    let member = |node: &Node| match node.id {
        Sid(3) => shell("echo disk on fire >&2; exit 3".into()),
        _ => Command::new("cat"),
    };
    let error = run_with(&plan, &mut signals, &mut io::sink(), member).unwrap_err();
    let EnsembleError::EndedEarly { id, status, last_words, .. } = &error else { panic!("{error}") };
    assert_eq!((*id, *status, last_words.as_str()), (Sid(3), ExitStatus::from_raw(3 << 8), "disk on fire"));
    assert_eq!(error.exit(), Exit::Unexpected);
}

#[test]
fn an_ensemble_of_which_nothing_is_left_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let plan = answering_plan(dir.path(), ["leader"; 4]);
    let over = dir.path().join("over");
    let mut signals = Signals::new([SIGCHLD, SIGUSR2]).unwrap();
    let mut out = Then(Vec::new(), || fs::write(&over, "").unwrap());
    let member = |_: &Node| shell(format!("while [ ! -e '{}' ]; do sleep 0.05; done", over.display()));
    let error = run_with(&plan, &mut signals, &mut out, member).unwrap_err();
    assert!(matches!(error, EnsembleError::AllEnded), "{error}");
}
