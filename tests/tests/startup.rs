//! How a node begins and ends: what it refuses and in which words, and what it costs while nothing happens.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ringkeeper_tests::client::Client;
use ringkeeper_tests::load::write_during;
use ringkeeper_tests::node::{Node, Server, ringkeeper};
use ringkeeper_tests::on_both;
use ringkeeper_tests::place;
use ringkeeper_tests::tool::{Tool, requires};
use rustix::process::Signal;

/// Starts a node that must not start. Returns its exit code and what it wrote to standard error.
fn refused(node: &mut Node) -> (i32, String) {
    node.spawn(Server::Ringkeeper.command(&node.config()));
    let status = node.wait_for_exit();
    let text = node.stderr_text();
    assert!(!text.contains("panicked"), "a refusal is not a panic:\n{text}");
    (status.code().unwrap_or_else(|| panic!("{status}:\n{text}")), text)
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn version_is_printed() {
    let output = Command::new(ringkeeper()).arg("--version").output().expect("running ringkeeper");
    assert!(output.status.success());
    assert_says(&String::from_utf8_lossy(&output.stdout), &["ringkeeper", env!("CARGO_PKG_VERSION")]);
}

#[test]
fn start_says_where_it_listens_and_keeps_data() {
    let node = Node::start(Server::Ringkeeper, &[]);
    assert_says(&node.output_text(), &[&node.addr().to_string(), &node.data().display().to_string()]);
}

#[test]
fn second_node_on_the_same_directory_is_refused() {
    let first = Node::start(Server::Ringkeeper, &[]);
    let mut second = Node::prepare_in(Server::Ringkeeper, first.data(), &[]);
    let (code, text) = refused(&mut second);
    assert_ne!(code, 0);
    let owner = format!("in use by process {}", first.process().pid());
    assert_says(&text, &[&first.data().display().to_string(), &owner]);
    first.client().create("/unharmed", b"", 0).expect("the first goes on");
}

#[test]
fn port_in_use_is_named() {
    let mut node = Node::prepare(Server::Ringkeeper, &[]);
    let _taken = TcpListener::bind(node.addr()).expect("binding");
    let (code, text) = refused(&mut node);
    assert_ne!(code, 0);
    assert_says(&text, &[&node.addr().to_string(), "in use"]);
}

#[test]
fn data_directory_that_is_none_is_named() {
    let home = place::temp_dir();
    let file = home.path().join("file");
    std::fs::write(&file, "").expect("writing");
    let mut node = Node::prepare_in(Server::Ringkeeper, &file, &[]);
    let (code, text) = refused(&mut node);
    assert_ne!(code, 0);
    assert_says(&text, &[&file.display().to_string()]);
}

#[test]
fn bad_values_are_refused_with_line_key_and_value() {
    // The first line of a prepared file is line 1; extra lines begin at 6.
    for (line, parts) in [
        ("tickTime=soon", ["6", "tickTime", "soon"]),
        ("clientPort=70000", ["6", "clientPort", "70000"]),
        ("maxSessionTimeout=-7", ["6", "maxSessionTimeout", "-7"]),
        ("minSessionTimeout=90000", ["6", "minSessionTimeout", "90000"]),
    ] {
        let mut node = Node::prepare(Server::Ringkeeper, &[line]);
        let (code, text) = refused(&mut node);
        assert_eq!(code, 2, "{line}: {text}");
        assert_says(&text, &parts);
    }
}

#[test]
fn missing_configuration_is_refused() {
    let path = "/nonexistent/zoo.cfg";
    let output = Server::Ringkeeper.command(Path::new(path)).output().expect("running ringkeeper");
    assert_eq!(output.status.code(), Some(2));
    assert_says(&String::from_utf8_lossy(&output.stderr), &[path]);
}

#[test]
fn unknown_keys_are_warned_of() {
    let node = Node::start(Server::Ringkeeper, &["noSuchKeyAnywhere=1"]);
    assert_says(&node.output_text(), &["noSuchKeyAnywhere"]);
}

/// Starts the node in a process for which `io_uring_setup` is forbidden, as container runtimes do.
#[test]
fn refused_io_uring_is_explained() {
    if !requires(&[Tool::Python]) {
        return;
    }
    let mut node = Node::prepare(Server::Ringkeeper, &[]);
    let mut command = Command::new("python3");
    command.arg("-B").arg(place::workspace().join("tests/py/without_io_uring.py"));
    command.arg(ringkeeper()).arg("serve").arg(node.config());
    node.spawn(command);
    let status = node.wait_for_exit();
    let text = node.stderr_text();
    assert!(status.code().is_some_and(|c| c != 0), "{status}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    assert_says(&text, &["io_uring", "kernel.io_uring_disabled", "seccomp"]);
}

fn sigterm_ends_cleanly_and_loses_nothing(server: Server) {
    let mut node = Node::start(server, &[]);
    let mut status = None;
    let addr = node.addr();
    let written = write_during(addr, "term", 4, 16, |acked| {
        let start = Instant::now();
        while acked() < 200 {
            assert!(start.elapsed() < Duration::from_secs(60), "only {} operations", acked());
            std::thread::sleep(Duration::from_millis(1));
        }
        status = Some(node.terminate());
    });
    let status = status.expect("terminated");
    if server != Server::Apache {
        // A JVM ends with 143.
        assert!(status.success(), "{status}\n{}", node.output_text());
    }
    node.launch();
    let mut client = node.client();
    for record in &written {
        record.verify(&mut client).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn sigint_ends_cleanly() {
    let mut node = Node::start(Server::Ringkeeper, &[]);
    node.signal(Signal::INT);
    let status = node.wait_for_exit();
    assert!(status.success(), "{status}\n{}", node.output_text());
}

/// A resource bound, not a timing: processor time that the process used while ten seconds went by.
#[test]
fn idle_node_with_100_sessions_uses_no_processor() {
    let node = Node::start(Server::Ringkeeper, &["tickTime=2000"]);
    let mut clients: Vec<Client> = (0..100).map(|_| node.client()).collect();
    // What start-up and the handshakes set in motion may end first.
    std::thread::sleep(Duration::from_secs(1));
    let (start, before) = (Instant::now(), node.process().cpu_time());
    std::thread::sleep(Duration::from_secs(5));
    // Every session pings at a third of its timeout of 30 s.
    for client in &mut clients {
        client.ping().expect("ping");
    }
    std::thread::sleep(Duration::from_secs(5));
    let used = node.process().cpu_time() - before;
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64();
    println!("{:.2} % of a core", share * 100.0);
    assert!(share < 0.01, "an idle node used {:.2} % of a core", share * 100.0);
}

on_both! {
    sigterm_ends_cleanly_and_loses_nothing [];
}
